"""UNISAL, its path for still images: MobileNetV2, learned Gaussian priors, a light decoder; predicts fixation density.

Droste, Jiao, Noble, "Unified Image and Video Saliency Modeling", ECCV 2020, https://arxiv.org/abs/2003.05477; checked against the
authors' repository rdroste/unisal at 0440df7, whose checkpoints load as they are. One network was trained on four data sets, its
"domains": each has batch norms, priors, a last layer and a smoothing of its own.

In the domain of still images, SALICON, the network goes round its recurrent part, whose weights are then left out when a checkpoint is
read. In the domains of videos a still image goes through it as a first frame, as in the authors' ``run_inference``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..image_ops.axis_filters import apply_matrices, bilinear_matrix, lanczos_matrix
from ..image_ops.eight_bit import pillow_lanczos
from ..schema.weights import build_with_weights, working_dtype
from .entries import Entry, RemoteFile, Weights
from .interface import SaliencyModel
from .unisal_layers import DOMAINS, ConvGRU, Domain, InvertedResidual, Layers, MobileNetV2, named

_RECURRENT = ("rnn.", "post_rnn.")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STRIDE = 32
_PRIORS = 16
_SMOOTHING = 41  # side of the smoothing kernel, pixels of the network's input


class Unisal(SaliencyModel):
    """UNISAL for still images, with the pre- and post-processing of the authors' ``predictions_from_folder``.

    Images are stretched (Pillow's Lanczos filter) to the size out of a list that fits their aspect ratio best, for 4:3 it is
    288 x 384; the prediction is a density, divided by its maximum so that the maximum of each map is 1.

    Args:
        domain: the training data set whose layers are used: "SALICON" (still images, the default), "DHF1K", "Hollywood" or
            "UCFSports" (videos of everyday scenes, films and sports; the image is taken for a video's first frame).
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
        layers = Layers(operations, domain)
        self.cnn = MobileNetV2(layers)
        self.post_cnn = named(inv_res=InvertedResidual(layers, 1280 + _PRIORS, 256, 1))
        if domain != "SALICON":
            self.rnn = ConvGRU(layers, 256)
            self.post_rnn = nn.Sequential(*layers.convolution(256, 256, by_domain=True))
        self.skip_2x = layers.skip(160, 128)
        self.upsampling_2 = named(inv_res=InvertedResidual(layers, 256 + 128, 128, 2, by_domain=True))
        self.skip_4x = layers.skip(64, 64)
        self.post_upsampling_2 = named(inv_res=InvertedResidual(layers, 128 + 64, 64, 2, by_domain=True))
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
        if self.domain != "SALICON":
            x = x + self.post_rnn(self.rnn(x))
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


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _build(weights: Mapping[str, Tensor], operations: Any = nn, **options: Any) -> Unisal:
    still = options.get("domain", DOMAINS[0]) == DOMAINS[0]
    # The masks of dropout, which is for training, are saved with the recurrent part.
    unused = _RECURRENT if still else tuple(f"rnn.cell_list.0.drop_mask_{index}" for index in range(3))
    used = {key: value for key, value in weights.items() if not key.startswith(unused)}
    return build_with_weights(lambda: Unisal(operations=operations, **options), used)


def _recognizes(state: Mapping[str, Tensor]) -> bool:
    return "adaptation_salicon.0.weight" in state and "post_cnn.inv_res.conv.0.weight" in state


ENTRIES = [
    Entry(
        name="unisal",
        kind="fixation",
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
