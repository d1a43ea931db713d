"""FastSal, its version A (addition): MobileNetV2 with a light decoder that adds the scales; predicts fixation density.

Hu, McGuinness, "FastSal: a Computationally Efficient Network for Visual Saliency Prediction", ICPR 2020,
https://arxiv.org/abs/2008.11151; checked against the authors' repository feiyanhu/FastSal at ffba9a3, whose checkpoints of version A
load as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..image_ops.axis_filters import apply_matrices, lanczos_matrix, opencv_cubic_matrix, opencv_smooth
from ..image_ops.eight_bit import pillow_lanczos
from ..schema.weights import build_with_weights, working_dtype
from .entries import Entry, RemoteFile, Weights
from .interface import SaliencyModel
from .maps import divide_by_maximum

NATIVE_SIZE = (192, 256)  # height, width
_STRIDE = 32
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# MobileNetV2's stages: expansion, channels, blocks, stride of the first (Sandler et al. 2018, table 2).
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# The encoder's blocks (from 1) whose outputs are joined at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size.
_JOINED = ((1, 2), (2, 4), (4, 7), (7, 14), (14, 19))
_ADAPTED = ((28, 8), (24, 32), (136, 128), (520, 512))  # channels in and out at 1/2, 1/4, 1/8 and 1/16, after shuffling


def _normed(channels_in: int, channels: int, size: int, operations: Any, **options: Any) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    convolution = operations.Conv2d(channels_in, channels, size, padding=size // 2, bias=False, **options)
    return nn.Sequential(convolution, operations.BatchNorm2d(channels), nn.ReLU6())


class InvertedResidual(nn.Module):
    """MobileNetV2's block, with the names of torchvision; added to its input where it has that shape."""

    def __init__(self, channels_in: int, channels: int, stride: int, expand: int, operations: Any) -> None:
        super().__init__()
        hidden = channels_in * expand
        widen = [_normed(channels_in, hidden, 1, operations)] if expand != 1 else []
        each = _normed(hidden, hidden, 3, operations, stride=stride, groups=hidden)
        self.conv = nn.Sequential(*widen, each, operations.Conv2d(hidden, channels, 1, bias=False), operations.BatchNorm2d(channels))
        self.added = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.added else self.conv(x)


class AddingBlock(nn.Module):
    """An inverted residual of the sum of a scale and the coarser one, added to that sum."""

    def __init__(self, channels: int, operations: Any) -> None:
        super().__init__()
        self.inv_block = InvertedResidual(channels, channels, 1, 2, operations)

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        x = x if coarser is None else x + coarser
        return x + self.inv_block(x)


class FastSal(SaliencyModel):
    """FastSal A with the pre- and post-processing of the authors' ``fastSal_predict.py``.

    Images are stretched to 192 x 256 (Pillow's Lanczos filter). The network's sigmoid is stretched to [0, 1], enlarged bicubically and
    blurred by 5 x 5 pixels, both as OpenCV does.

    Args:
        input_size: (height, width) that images are stretched to, multiples of 32.
        operations: namespace of ``Conv2d`` and ``BatchNorm2d``.
        eight_bit: round the stretched images to bytes, in Pillow's arithmetic as the authors do; the gradient passes straight through.

    Raises:
        ValueError: an input size that is not two positive multiples of 32.
    """

    name = "fastsal"
    kind = "fixation"
    needs_weights = True

    def __init__(self, input_size: tuple[int, int] = NATIVE_SIZE, operations: Any = nn, eight_bit: bool = True) -> None:
        super().__init__()
        if len(input_size) != 2 or any(side < _STRIDE or side % _STRIDE for side in input_size):
            raise ValueError(f"FastSal's input height and width must be positive multiples of {_STRIDE}; got {tuple(input_size)}.")
        self.input_size = (input_size[0], input_size[1])
        self.eight_bit = eight_bit
        blocks: list[nn.Module] = [_normed(3, 32, 3, operations, stride=2)]
        channels = 32
        for expand, width, count, stride in _STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(channels, width, stride if index == 0 else 1, expand, operations))
                channels = width
        self.ecer = nn.Sequential(*blocks, _normed(channels, 1280, 1, operations))
        adapted = [nn.Sequential(operations.Conv2d(before, after, 1), nn.ReLU()) for before, after in _ADAPTED]
        self.adaptation_layer = nn.ModuleDict({"layers": nn.ModuleList(adapted)})
        for index, (_, after) in enumerate(_ADAPTED, start=1):
            self.add_module(f"adp{index}", AddingBlock(after, operations))
        self.comb = nn.ModuleDict({"layers": nn.ModuleList([nn.Sequential(operations.Conv2d(2, 1, 3, padding=1))])})

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, H, W), each stretched to [0, 1] before it is enlarged."""
        small = pillow_lanczos(images, self.input_size) if self.eight_bit else _lanczos(images, self.input_size)
        mean, std = (small.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        normalized = (small - mean) / std
        maps = torch.sigmoid(self.network(normalized.to(working_dtype(self, normalized)))).to(images.dtype)
        maps = divide_by_maximum(maps - maps.amin(dim=(-3, -2, -1), keepdim=True))
        maps = apply_matrices(maps, (images.shape[-2], images.shape[-1]), opencv_cubic_matrix).clamp(0, 1)
        return opencv_smooth(maps)

    def network(self, images: Tensor) -> Tensor:
        """The network alone: normalized (B, 3, h, w), sides multiples of 32, to logits (B, 1, h, w)."""
        x, outputs = images, []
        for block in self.ecer:
            x = block(x)
            outputs.append(x)
        finest, *others = (torch.cat(outputs[first:after], dim=1) for first, after in _JOINED)
        half, *rest = (F.pixel_shuffle(features, 2) for features in others)
        layers = self.get_submodule("adaptation_layer.layers").children()
        adapted = [layer(features) for layer, features in zip(layers, (torch.cat((finest, half), dim=1), *rest), strict=True)]
        coarser: Tensor | None = None
        for index in range(len(adapted), 0, -1):
            coarser = F.pixel_shuffle(self.get_submodule(f"adp{index}")(adapted[index - 1], coarser), 2)
        return self.get_submodule("comb.layers.0")(coarser)


def _lanczos(images: Tensor, size: tuple[int, int]) -> Tensor:
    return apply_matrices(images.clamp(0, 1), size, lanczos_matrix, clip=True)


def _build(weights: Mapping[str, Tensor], operations: Any = nn, **options: Any) -> FastSal:
    # Older checkpoints call the layers "conv0"; the authors' load_weight renames them too.
    named = {re.sub(r"^(adaptation_layer\.layers\.\d+)\.conv(\d)", r"\1.\2", key): value for key, value in weights.items()}
    return build_with_weights(lambda: FastSal(operations=operations, **options), named)


def _recognizes(state: Mapping[str, Tensor]) -> bool:
    return "adp1.inv_block.conv.0.0.weight" in state and "ecer.0.0.weight" in state


ENTRIES = [
    Entry(
        name="fastsal",
        kind="fixation",
        license="Apache-2.0",
        build=_build,
        weights=Weights(
            where="https://github.com/feiyanhu/FastSal, the file weights/salicon_A.pth",
            size="about 15 MB, 3.6 M parameters",
            license="Apache-2.0",
            filename="fastsal.pth",
            remote=(
                RemoteFile(
                    "fastsal.pth",
                    "https://raw.githubusercontent.com/feiyanhu/FastSal/ffba9a319edd9195ec006e86cae72562c7929d8f/weights/salicon_A.pth",
                    git_blob="084af1aee83760558a37a7c22892a63af1996c8f",
                ),
            ),
        ),
        recognizes=_recognizes,
    ),
]
