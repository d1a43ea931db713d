"""UNISAL, its path for still images: MobileNetV2, learned Gaussian priors, a light decoder; predicts fixation density.

Droste, Jiao, Noble, "Unified Image and Video Saliency Modeling", ECCV 2020, https://arxiv.org/abs/2003.05477; checked against the
authors' repository rdroste/unisal at 0440df7, whose checkpoints load as they are. One network was trained on four data sets, its
"domains": each has batch norms, priors, a last layer and a smoothing of its own.

For a still image the network goes round its recurrent part, so that the weights of that part are left out when a checkpoint is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..image_ops.axis_filters import apply_matrices, bilinear_matrix, lanczos_matrix
from ..image_ops.eight_bit import pillow_lanczos
from .entries import Entry, RemoteFile, Weights
from .interface import SaliencyModel
from .weights import build_with_weights, working_dtype

Domain = Literal["SALICON", "DHF1K", "Hollywood", "UCFSports"]
DOMAINS: tuple[str, ...] = get_args(Domain)

_BYPASSED = ("rnn.", "post_rnn.")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STRIDE = 32
_PRIORS = 16
_SMOOTHING = 41  # side of the smoothing kernel, pixels of the network's input


class DomainNorm(nn.Module):
    """A batch norm per domain, of which one is used."""

    def __init__(self, channels: int, domain: str, operations: Any) -> None:
        super().__init__()
        self.domain = domain
        for name in DOMAINS:
            self.add_module(f"bn_{name}", operations.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(f"bn_{self.domain}")(x)


class _Layers:
    """Makes the layers of one network: which namespace they come from, and the domain of its norms."""

    def __init__(self, operations: Any, domain: str) -> None:
        self.operations = operations
        self.domain = domain

    def norm(self, channels: int, by_domain: bool) -> nn.Module:
        return DomainNorm(channels, self.domain, self.operations) if by_domain else self.operations.BatchNorm2d(channels)

    def convolution(self, channels_in: int, channels: int, size: int = 1, by_domain: bool = False, **options: Any) -> list[nn.Module]:
        """Convolution, norm, ReLU6."""
        convolution = self.operations.Conv2d(channels_in, channels, size, padding=size // 2, bias=False, **options)
        return [convolution, self.norm(channels, by_domain), nn.ReLU6()]

    def skip(self, channels_in: int, channels: int) -> nn.Sequential:
        """Twice the channels, then ``channels``: from a stage of the encoder to the decoder."""
        reduction = nn.Sequential(self.operations.Conv2d(2 * channels_in, channels, 1), self.norm(channels, by_domain=True))
        expansion = nn.Sequential(*self.convolution(channels_in, 2 * channels_in, by_domain=True))
        return _named(expansion=expansion, reduction=reduction)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow without a non-linearity (Sandler et al. 2018)."""

    def __init__(self, layers: _Layers, channels_in: int, channels: int, expand: int, *, stride: int = 1, by_domain: bool = False) -> None:
        super().__init__()
        hidden = channels_in * expand
        widen = layers.convolution(channels_in, hidden, by_domain=by_domain) if expand != 1 else []
        each = layers.convolution(hidden, hidden, 3, by_domain=by_domain, groups=hidden, stride=stride)
        narrow = [layers.operations.Conv2d(hidden, channels, 1, bias=False), layers.norm(channels, by_domain)]
        self.conv = nn.Sequential(*widen, *each, *narrow)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Residual(InvertedResidual):
    """The same, added to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 whose strides come one step late, so that its taps are taken before each halving.

    ``forward`` takes (B, 3, H, W) and returns 1280 channels at 1/32, 160 at 1/16 and 64 at 1/8 of the size.
    """

    # expansion, channels, blocks, whether the image is halved
    _stages = (
        (1, 16, 1, False),
        (6, 24, 2, True),
        (6, 32, 3, True),
        (6, 64, 4, True),
        (6, 96, 3, False),
        (6, 160, 3, True),
        (6, 320, 1, False),
    )
    _eighth, _sixteenth = 7, 14

    def __init__(self, layers: _Layers) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*layers.convolution(3, 32, 3, stride=2))]
        channels = 32
        for expand, width, blocks, halves in self._stages:
            for index in range(blocks):
                # Where no tap is taken the filter's own stride keeps just the places that the halving would keep, at a quarter of the cost.
                stride = 2 if halves and index == 0 and len(features) not in (self._eighth, self._sixteenth) else 1
                block = Residual if index > 0 else InvertedResidual
                features.append(block(layers, channels, width, expand, stride=stride))
                channels = width
        features.append(nn.Sequential(*layers.convolution(channels, 1280)))
        self.features = nn.Sequential(*features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        taps = {}
        for index, block in enumerate(self.features):
            x = block(x)
            if index in (self._eighth, self._sixteenth):
                taps[index] = x
                x = x[..., ::2, ::2]
        return x, taps[self._sixteenth], taps[self._eighth]


class Unisal(SaliencyModel):
    """UNISAL for still images, with the pre- and post-processing of the authors' ``predictions_from_folder``.

    Images are stretched (Pillow's Lanczos filter) to the size out of a list that fits their aspect ratio best, for 4:3 it is
    288 x 384; the prediction is a density, divided by its maximum so that the maximum of each map is 1.

    Args:
        domain: the training data set whose layers are used: "SALICON" (still images, the default), "DHF1K", "Hollywood" or
            "UCFSports" (videos of everyday scenes, films and sports; their layers were trained together with the recurrent part).
        input_size: (height, width) that images are stretched to, multiples of 32; None for the authors' choice by aspect ratio.
        operations: namespace of ``Conv2d`` and ``BatchNorm2d``.
        eight_bit: round the stretched images to bytes, in Pillow's arithmetic as the authors do; the gradient passes straight through.
            Without it maps are smooth in the pixels, and up to a few gray levels from the authors'.

    Raises:
        ValueError: unknown domain, an input size that is not two positive multiples of 32.
    """

    name = "unisal"
    kind = "fixation"
    needs_weights = True

    def __init__(
        self, domain: Domain = "SALICON", input_size: tuple[int, int] | None = None, operations: Any = nn, eight_bit: bool = True
    ) -> None:
        super().__init__()
        if domain not in DOMAINS:
            raise ValueError(f"UNISAL was trained on the domains {', '.join(DOMAINS)}; got {domain!r}.")
        if input_size is not None and (len(input_size) != 2 or any(side < _STRIDE or side % _STRIDE for side in input_size)):
            raise ValueError(f"UNISAL's input height and width must be positive multiples of {_STRIDE}; got {tuple(input_size)}.")
        self.domain = domain
        self.input_size = input_size
        self.eight_bit = eight_bit
        layers = _Layers(operations, domain)
        self.cnn = MobileNetV2(layers)
        self.post_cnn = _named(inv_res=InvertedResidual(layers, 1280 + _PRIORS, 256, 1))
        self.skip_2x = layers.skip(160, 128)
        self.upsampling_2 = _named(inv_res=InvertedResidual(layers, 256 + 128, 128, 2, by_domain=True))
        self.skip_4x = layers.skip(64, 64)
        self.post_upsampling_2 = _named(inv_res=InvertedResidual(layers, 128 + 64, 64, 2, by_domain=True))
        for name in DOMAINS:
            self.register_parameter(f"coarse_gaussians_{name.lower()}", nn.Parameter(torch.zeros(_PRIORS, 2, 2)))
            self.add_module(f"adaptation_{name.lower()}", nn.Sequential(operations.Conv2d(64, 1, 1)))
            self.add_module(f"smoothing_{name.lower()}", operations.Conv2d(1, 1, _SMOOTHING, bias=False))

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, H, W) densities over their maxima."""
        size = (images.shape[-2], images.shape[-1])
        fitted = self.input_size or best_size(*size)
        small = pillow_lanczos(images, fitted) if self.eight_bit else apply_matrices(images, fitted, lanczos_matrix, clip=True)
        mean, std = (small.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        normalized = (small - mean) / std
        logits = self.network(normalized.to(working_dtype(self, normalized))).to(images.dtype)
        logits = apply_matrices(logits, size, bilinear_matrix)
        # A softmax over its maximum is the exponential of the distance from the largest logit.
        return torch.exp(logits - logits.amax(dim=(-3, -2, -1), keepdim=True))

    def network(self, images: Tensor) -> Tensor:
        """The network alone: normalized (B, 3, h, w), sides multiples of 32, to unnormalized log-densities (B, 1, h, w)."""
        coarse, middle, fine = self.cnn(images)
        x = self.post_cnn(torch.cat((coarse, self._priors(coarse)), dim=1))
        x = self.upsampling_2(torch.cat((_double(x), self.skip_2x(middle)), dim=1))
        x = self.post_upsampling_2(torch.cat((_double(x), self.skip_4x(fine)), dim=1))
        x = self.get_submodule(f"adaptation_{self.domain.lower()}")(x)
        x = F.interpolate(x, size=images.shape[-2:], mode="nearest")
        x = F.pad(x, [_SMOOTHING // 2] * 4, mode="replicate")
        return self.get_submodule(f"smoothing_{self.domain.lower()}")(x)

    def _priors(self, like: Tensor) -> Tensor:
        """Return the domain's Gaussians (paper, section 3.2; center and log sigma in units of the side), times 6."""
        gaussians = self.get_parameter(f"coarse_gaussians_{self.domain.lower()}").to(device=like.device, dtype=like.dtype)
        along = []
        for axis in (0, 1):
            places = torch.linspace(0, 1, like.shape[2 + axis], dtype=like.dtype, device=like.device)
            center, sigma = gaussians[:, axis, 0, None], gaussians[:, axis, 1, None].exp()
            along.append(torch.exp(-(((places - center) / sigma) ** 2) / 2))
        return (6 * along[0][:, :, None] * along[1][:, None, :]).expand(like.shape[0], -1, -1, -1)


def best_size(height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) among the authors' input sizes whose aspect ratio is nearest, the first of equals.

    They are n x 32 by m x 32 with n and m from 7 to 13 and 100 to 120 cells in all (``get_optimal_out_size`` in unisal/data.py).
    """
    sizes = [(rows, columns) for rows in range(7, 14) for columns in range(7, 14) if 100 <= rows * columns <= 120]
    ratio = height / width

    def nearness(size: tuple[int, int]) -> float:
        other = size[0] / size[1]
        return min(ratio, other) / max(ratio, other)

    rows, columns = max(sizes, key=nearness)
    return rows * _STRIDE, columns * _STRIDE


def _named(**modules: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, module in modules.items():
        sequence.add_module(name, module)
    return sequence


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _build(weights: Mapping[str, Tensor], operations: Any = nn, **options: Any) -> Unisal:
    used = {key: value for key, value in weights.items() if not key.startswith(_BYPASSED)}
    return build_with_weights(lambda: Unisal(operations=operations, **options), used)


def _recognizes(state: Mapping[str, Tensor]) -> bool:
    return "adaptation_salicon.0.weight" in state and "post_cnn.inv_res.conv.0.weight" in state


ENTRIES = [
    Entry(
        name="unisal",
        kind="fixation",
        description="UNISAL, a small fast network: where people look. Its domain chooses the data it was trained on (SALICON for stills).",
        license="Apache-2.0",
        build=_build,
        weights=Weights(
            where="https://github.com/rdroste/unisal, the file training_runs/pretrained_unisal/weights_best.pth",
            size="about 15 MB, 3.7 M parameters",
            license="Apache-2.0",
            filename="unisal.pth",
            remote=(
                RemoteFile(
                    "unisal.pth",
                    "https://raw.githubusercontent.com/rdroste/unisal/0440df77f6fb4c93bb6f5ba1aa8cf543061ffc56/training_runs/pretrained_unisal/weights_best.pth",
                    git_blob="f06b52c56405bbf11b40cf1b4307573aa4035bea",
                ),
            ),
        ),
        recognizes=_recognizes,
    ),
]
