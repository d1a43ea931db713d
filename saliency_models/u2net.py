"""U2-Net and its small version U2-NetP: a U-Net whose every stage is a U-Net; predicts which object stands out.

Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand, "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern
Recognition 106 (2020), https://arxiv.org/abs/2005.09007; checked against the authors' repository xuebinqin/U-2-Net at ac7e1c8, whose
checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..image_ops.axis_filters import scikit_resize
from ..schema.weights import build_with_weights, working_dtype
from .entries import Entry, RemoteFile, Weights
from .interface import SaliencyModel
from .maps import divide_by_maximum

Variant = Literal["u2net", "u2netp"]

NATIVE_SIZE = (320, 320)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Each stage: depth of its U, whether it dilates instead of pooling, channels in, inside, out. The paper's table 1 and figure 5.
_ENCODER_DEPTHS = ((7, False), (6, False), (5, False), (4, False), (4, True), (4, True))
_ENCODER_CHANNELS = {
    "u2net": ((3, 32, 64), (64, 32, 128), (128, 64, 256), (256, 128, 512), (512, 256, 512), (512, 256, 512)),
    "u2netp": ((3, 16, 64), (64, 16, 64), (64, 16, 64), (64, 16, 64), (64, 16, 64), (64, 16, 64)),
}
_DECODER_CHANNELS = {
    "u2net": ((128, 16, 64), (256, 32, 64), (512, 64, 128), (1024, 128, 256), (1024, 256, 512)),
    "u2netp": ((128, 16, 64),) * 5,
}


class ConvNormReLU(nn.Module):
    """3x3 convolution with dilation, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels: int, dilation: int, operations: Any) -> None:
        super().__init__()
        self.conv_s1 = operations.Conv2d(channels_in, channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = operations.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.bn_s1(self.conv_s1(x)))


class ResidualU(nn.Module):
    """Residual U-block ("RSU"): a small U-Net added to its own first convolution.

    Args:
        depth: convolutions on the way down; the last has dilation 2.
        dilated: dilate by 1, 2, 4... on the way down instead of halving the size ("RSU-4F").
        channels: in, inside, out.
    """

    def __init__(self, depth: int, dilated: bool, channels: tuple[int, int, int], operations: Any) -> None:
        super().__init__()
        channels_in, inside, channels_out = channels
        self.depth, self.dilated = depth, dilated
        self.rebnconvin = ConvNormReLU(channels_in, channels_out, 1, operations)
        for level in range(1, depth + 1):
            dilation = 2 ** (level - 1) if dilated else 1 + (level == depth)
            down = ConvNormReLU(channels_out if level == 1 else inside, inside, dilation, operations)
            self.add_module(f"rebnconv{level}", down)
        for level in range(depth - 1, 0, -1):
            up = ConvNormReLU(2 * inside, channels_out if level == 1 else inside, 2 ** (level - 1) if dilated else 1, operations)
            self.add_module(f"rebnconv{level}d", up)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.rebnconvin(x)
        x, levels = whole, []
        for level in range(1, self.depth):
            x = self.get_submodule(f"rebnconv{level}")(x if level == 1 or self.dilated else _halve(x))
            levels.append(x)
        x = self.get_submodule(f"rebnconv{self.depth}")(x)
        for level in range(self.depth - 1, 0, -1):
            x = torch.cat((_resize_like(x, levels[level - 1]), levels[level - 1]), dim=1)
            x = self.get_submodule(f"rebnconv{level}d")(x)
        return x + whole


class U2Net(SaliencyModel):
    """U2-Net with the pre- and post-processing of the authors' ``u2net_test.py``.

    Images are stretched to 320 x 320 (scikit-image's filter), divided by their brightest value and normalized; the map is
    stretched to [0, 1] and resized as Pillow does.

    Args:
        variant: "u2net" (44.0 M parameters) or "u2netp" (1.13 M).
        input_size: (height, width) that images are stretched to, at least 32 each.
        antialias: blur before shrinking, as scikit-image does since 0.15 (default). The authors' requirements name 0.14, which did not.
        operations: namespace of ``Conv2d`` and ``BatchNorm2d``.

    Raises:
        ValueError: unknown variant, an input size that is not two numbers from 32 up.
    """

    kind = "salient object"
    needs_weights = True

    def __init__(
        self,
        variant: Variant = "u2net",
        input_size: tuple[int, int] = NATIVE_SIZE,
        antialias: bool = True,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        if variant not in _ENCODER_CHANNELS:
            raise ValueError(f"U2-Net has the variants 'u2net' and 'u2netp'; got {variant!r}.")
        if len(input_size) != 2 or min(input_size) < 32:
            raise ValueError(f"U2-Net's input height and width must be at least 32; got {tuple(input_size)}.")
        self.name = variant
        self.input_size = (input_size[0], input_size[1])
        self.antialias = antialias
        encoder, decoder = _ENCODER_CHANNELS[variant], _DECODER_CHANNELS[variant]
        for index, ((depth, dilated), channels) in enumerate(zip(_ENCODER_DEPTHS, encoder, strict=True), start=1):
            self.add_module(f"stage{index}", ResidualU(depth, dilated, channels, operations))
        for index, ((depth, dilated), channels) in enumerate(zip(_ENCODER_DEPTHS[:5], decoder, strict=True), start=1):
            self.add_module(f"stage{index}d", ResidualU(depth, dilated, channels, operations))
        for index, channels in enumerate((*decoder, encoder[5]), start=1):
            self.add_module(f"side{index}", operations.Conv2d(channels[2], 1, 3, padding=1))
        self.outconv = operations.Conv2d(6, 1, 1)

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, *input_size), the network's sigmoid stretched to [0, 1]."""
        small = scikit_resize(images, self.input_size, self.antialias)
        brightest = small.amax(dim=(1, 2, 3), keepdim=True)
        # A black image has no brightest value to divide by.
        scaled = small / torch.where(brightest > 0, brightest, torch.ones_like(brightest))
        mean, std = (small.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        normalized = (scaled - mean) / std
        maps = torch.sigmoid(self.network(normalized.to(working_dtype(self, normalized)))).to(images.dtype)
        return divide_by_maximum(maps - maps.amin(dim=(-3, -2, -1), keepdim=True))

    def network(self, images: Tensor) -> Tensor:
        """The network alone: normalized (B, 3, h, w) to the logits (B, 1, h, w) of its fused output."""
        stages, x = [], images
        for index in range(1, 7):
            x = self.get_submodule(f"stage{index}")(x if index == 1 else _halve(x))
            stages.append(x)
        decoded = [x]
        for index in range(5, 0, -1):
            skip = stages[index - 1]
            x = self.get_submodule(f"stage{index}d")(torch.cat((_resize_like(x, skip), skip), dim=1))
            decoded.insert(0, x)
        sides = [self.get_submodule(f"side{index}")(features) for index, features in enumerate(decoded, start=1)]
        return self.outconv(torch.cat([_resize_like(side, sides[0]) for side in sides], dim=1))


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _resize_like(x: Tensor, like: Tensor) -> Tensor:
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _build(variant: Variant, weights: Mapping[str, Tensor], operations: Any = nn, **options: Any) -> U2Net:
    return build_with_weights(lambda: U2Net(variant, operations=operations, **options), weights)


def _recognizes(variant: Variant, state: Mapping[str, Tensor]) -> bool:
    marker = state.get("stage2.rebnconvin.conv_s1.weight")
    return "outconv.weight" in state and marker is not None and marker.shape[0] == _ENCODER_CHANNELS[variant][1][2]


_REPOSITORY = "the README of https://github.com/xuebinqin/U-2-Net (Google Drive or Baidu)"

ENTRIES = [
    Entry(
        name="u2net",
        kind="salient object",
        license="Apache-2.0",
        build=partial(_build, "u2net"),
        weights=Weights(
            where=f"{_REPOSITORY}: u2net.pth, https://drive.google.com/file/d/1ao1ovG1Qtx4b7EoskHXmi2E9rp5CHLcZ",
            size="176 MB, 44.0 M parameters",
            license="Apache-2.0",
            filename="u2net.pth",
            remote=(  # the authors' file, byte for byte, on a hub
                RemoteFile(
                    "u2net.pth",
                    "https://huggingface.co/Carve/u2net-universal/resolve/10305d785481cf4b2eee1d447c39cd6e5f43d74b/full_weights.pth",
                    bytes=176_290_937,
                    sha256="10025a17f49cd3208afc342b589890e402ee63123d6f2d289a4a0903695cce58",
                ),
            ),
        ),
        recognizes=partial(_recognizes, "u2net"),
    ),
    Entry(
        name="u2netp",
        kind="salient object",
        license="Apache-2.0",
        build=partial(_build, "u2netp"),
        weights=Weights(
            where=f"{_REPOSITORY}: u2netp.pth, https://drive.google.com/file/d/1rbSTGKAE-MTxBYHd-51l2hMOQPT_7EPy",
            size="4.7 MB, 1.13 M parameters",
            license="Apache-2.0",
            filename="u2netp.pth",
        ),
        recognizes=partial(_recognizes, "u2netp"),
    ),
]
