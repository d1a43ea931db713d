"""TranSalNet: a convolutional encoder, three small transformers, a convolutional decoder; predicts fixation density.

Lou, Lin, Marshall, Saupe, Liu, "TranSalNet: Towards perceptually relevant visual saliency prediction", Neurocomputing 494
(2022), https://doi.org/10.1016/j.neucom.2022.04.080; checked against the authors' repository LJOVO/TranSalNet at a2aba83,
whose checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..image_ops.axis_filters import apply_matrices, bilinear_matrix
from ..image_ops.eight_bit import opencv_linear
from ..schema.weights import build_with_weights, working_dtype
from .backbones import DenseNet161, ResNet50
from .entries import Entry, Weights
from .interface import SaliencyModel

Variant = Literal["resnet50", "densenet161"]
ChannelOrder = Literal["rgb", "bgr"]

NATIVE_SIZE = (288, 384)  # height, width
_PADDING = 1 / 255  # the reference's canvas is an array of ones in bytes, not of zeros
_STRIDE = 32


class SelfAttention(nn.Module):
    """Multi-head self-attention with separate projections for query, key and value."""

    def __init__(self, width: int, heads: int, operations: Any) -> None:
        super().__init__()
        self.heads = heads
        self.query = operations.Linear(width, width)
        self.key = operations.Linear(width, width)
        self.value = operations.Linear(width, width)
        self.out = operations.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            rearrange(project(tokens), "b n (heads d) -> b heads n d", heads=self.heads) for project in (self.query, self.key, self.value)
        )
        return self.out(rearrange(F.scaled_dot_product_attention(query, key, value), "b heads n d -> b n (heads d)"))


class FeedForward(nn.Module):
    """Two linear layers, four times the width between them, exact GELU."""

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.fc1 = operations.Linear(width, 4 * width)
        self.fc2 = operations.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class TransformerBlock(nn.Module):
    """Pre-norm block: attention, then feed-forward, each added to its input."""

    def __init__(self, width: int, heads: int, operations: Any) -> None:
        super().__init__()
        self.attention_norm = operations.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads, operations)
        self.ffn_norm = operations.LayerNorm(width, eps=1e-6)
        self.ffn = FeedForward(width, operations)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.attention_norm(tokens))
        return tokens + self.ffn(self.ffn_norm(tokens))


class Transformer(nn.Module):
    """Two blocks and a final norm."""

    def __init__(self, width: int, heads: int, operations: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(TransformerBlock(width, heads, operations) for _ in range(2))
        self.encoder_norm = operations.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        for layer in self.layer:
            tokens = layer(tokens)
        return self.encoder_norm(tokens)


class TransEncoder(nn.Module):
    """One tap of the encoder, a token per place, with learned position embeddings.

    Args:
        channels: of the tap.
        grid: (height, width) of the tap at the native size, the grid of the position embeddings. At any other size they are
            interpolated bicubically.
    """

    def __init__(self, channels: int, width: int, heads: int, grid: tuple[int, int], operations: Any) -> None:
        super().__init__()
        self.grid = grid
        self.patch_embeddings = operations.Conv2d(channels, width, 1)
        self.position_embeddings = nn.Parameter(torch.zeros(1, grid[0] * grid[1], width))
        self.transformer_encoder = Transformer(width, heads, operations)

    def forward(self, features: Tensor) -> Tensor:
        size = (features.shape[-2], features.shape[-1])
        tokens = rearrange(self.patch_embeddings(features), "b d h w -> b (h w) d")
        tokens = self.transformer_encoder(tokens + self._positions(size, tokens))
        return rearrange(tokens, "b (h w) d -> b d h w", h=size[0])

    def _positions(self, size: tuple[int, int], like: Tensor) -> Tensor:
        positions = self.position_embeddings.to(device=like.device, dtype=like.dtype)
        if size == self.grid:
            return positions
        as_image = rearrange(positions, "1 (h w) d -> 1 d h w", h=self.grid[0])
        return rearrange(F.interpolate(as_image, size=size, mode="bicubic", align_corners=False), "1 d h w -> 1 (h w) d")


class Decoder(nn.Module):
    """Fuses the three transformed taps by products, from the coarsest up, and ends at the size of the input."""

    def __init__(self, channels: tuple[int, int, int], operations: Any) -> None:
        super().__init__()
        fine, middle, coarse = channels
        rows, columns = NATIVE_SIZE[0] // _STRIDE, NATIVE_SIZE[1] // _STRIDE
        self.TransEncoder1 = TransEncoder(coarse, 768, 12, (rows, columns), operations)
        self.TransEncoder2 = TransEncoder(middle, 768, 12, (2 * rows, 2 * columns), operations)
        self.TransEncoder3 = TransEncoder(fine, 512, 8, (4 * rows, 4 * columns), operations)
        widths = (768, 768, 512, 256, 128, 64, 32, 1)
        for index in range(1, 8):
            self.add_module(f"conv{index}", operations.Conv2d(widths[index - 1], widths[index], 3, padding=1))
            if index < 7:
                self.add_module(f"batchnorm{index}", operations.BatchNorm2d(widths[index]))

    def forward(self, taps: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        fine, middle, coarse = taps
        x = self._up(self._step(1, self.TransEncoder1(coarse)))
        x = self._up(self._step(2, F.relu(x * self.TransEncoder2(middle))))
        x = self._up(self._step(3, F.relu(x * self.TransEncoder3(fine))))
        x = self._up(self._step(4, x))
        x = self._up(self._step(5, x))
        return torch.sigmoid(self.get_submodule("conv7")(self._step(6, x)))

    def _step(self, index: int, x: Tensor) -> Tensor:
        x = self.get_submodule(f"conv{index}")(x)
        return F.relu_(self.get_submodule(f"batchnorm{index}")(x))

    @staticmethod
    def _up(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")


class TranSalNet(SaliencyModel):
    """TranSalNet with the pre- and post-processing of the authors' test notebook.

    Images are resized to fit a canvas of 288 x 384 without changing their aspect ratio, centered on it, predicted, and the map is
    enlarged and cropped back. The map is the network's sigmoid, as published: not stretched to [0, 1].

    Args:
        variant: the encoder, "resnet50" (72.5 M parameters) or "densenet161" (76.6 M).
        channel_order: "rgb", as the authors train (default), or "bgr", as their test notebook feeds the network.
        input_size: (height, width) of the canvas, multiples of 32. Anything but 288 x 384 interpolates the position embeddings;
            the network was not trained for it.
        operations: namespace of ``Conv2d``, ``Linear``, ``LayerNorm``, ``BatchNorm2d``.
        eight_bit: round the resized images to bytes, in OpenCV's arithmetic as the authors do; the gradient passes straight through.
            Without it maps are smooth in the pixels, and a gray level or two from the authors'.

    Raises:
        ValueError: unknown variant or channel order, an input size that is not two positive multiples of 32.
    """

    kind = "fixation"
    needs_weights = True

    def __init__(
        self,
        variant: Variant = "resnet50",
        channel_order: ChannelOrder = "rgb",
        input_size: tuple[int, int] = NATIVE_SIZE,
        operations: Any = nn,
        eight_bit: bool = True,
    ) -> None:
        super().__init__()
        if variant not in ("resnet50", "densenet161"):
            raise ValueError(f"TranSalNet has the variants 'resnet50' and 'densenet161'; got {variant!r}.")
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"The channel order is 'rgb' or 'bgr'; got {channel_order!r}.")
        if len(input_size) != 2 or any(side < _STRIDE or side % _STRIDE for side in input_size):
            raise ValueError(f"TranSalNet's input height and width must be positive multiples of {_STRIDE}; got {tuple(input_size)}.")
        self.name = f"transalnet-{variant}"
        self.variant = variant
        self.channel_order = channel_order
        self.eight_bit = eight_bit
        self.input_size = (input_size[0], input_size[1])
        body: ResNet50 | DenseNet161 = ResNet50(operations) if variant == "resnet50" else DenseNet161(operations)
        self.encoder = nn.ModuleDict({"encoder": body})
        self.decoder = Decoder(body.channels, operations)

    def predict(self, images: Tensor) -> Tensor:
        """Return (B, 1, H, W), the sigmoid of the network resized to the images."""
        canvas = fit_on_canvas(images.flip(1) if self.channel_order == "bgr" else images, self.input_size, self.eight_bit)
        maps = self.network(canvas.to(working_dtype(self, canvas)))
        return cover_and_crop(maps.to(images.dtype), (images.shape[-2], images.shape[-1]))

    def network(self, canvas: Tensor) -> Tensor:
        """The network alone: (B, 3, h, w), sides multiples of 32, to (B, 1, h, w) in (0, 1)."""
        return self.decoder(self.encoder["encoder"](canvas))


def fit_on_canvas(images: Tensor, canvas: tuple[int, int] = NATIVE_SIZE, eight_bit: bool = False) -> Tensor:
    """Resize (B, C, H, W) to fit ``canvas`` = (height, width), aspect ratio kept, centered on a background of 1/255.

    As the reference's ``utils/data_process.py``: sides rounded down, OpenCV's bilinear filter, no antialiasing; with ``eight_bit`` the same
    bytes. A side that would vanish (an image of 1 x 1000) becomes one pixel, where the reference fails.
    """
    size = _fitted(images.shape[-2], images.shape[-1], canvas)
    top, left = (canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2
    small = opencv_linear(images, size) if eight_bit else apply_matrices(images, size, bilinear_matrix)
    return F.pad(small, (left, canvas[1] - size[1] - left, top, canvas[0] - size[0] - top), value=_PADDING)


def cover_and_crop(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo ``fit_on_canvas``: enlarge (B, 1, h, w) to cover ``size`` = (height, width), and crop its center."""
    height, width = maps.shape[-2:]
    # The side that touched the canvas's border is the one that decides the enlargement.
    tall = size[0] * width > size[1] * height
    covered = (size[0], width * size[0] // height) if tall else (height * size[1] // width, size[1])
    top, left = (covered[0] - size[0]) // 2, (covered[1] - size[1]) // 2
    return apply_matrices(maps, covered, bilinear_matrix)[..., top : top + size[0], left : left + size[1]]


def _fitted(height: int, width: int, canvas: tuple[int, int]) -> tuple[int, int]:
    if height * canvas[1] > width * canvas[0]:  # taller than the canvas: the height binds
        return canvas[0], max(1, width * canvas[0] // height)
    return max(1, height * canvas[1] // width), canvas[1]


def _build(variant: Variant, weights: Mapping[str, Tensor], operations: Any = nn, **options: Any) -> TranSalNet:
    return build_with_weights(lambda: TranSalNet(variant, operations=operations, **options), weights)


def _recognizes(marker: str, state: Mapping[str, Tensor]) -> bool:
    return marker in state and "decoder.TransEncoder1.position_embeddings" in state


_REPOSITORY = "the README of https://github.com/LJOVO/TranSalNet (Google Drive or Baidu)"

ENTRIES = [
    Entry(
        name="transalnet-resnet50",
        kind="fixation",
        license="Apache-2.0",
        build=partial(_build, "resnet50"),
        weights=Weights(
            where=f"{_REPOSITORY}: TranSalNet_Res, https://drive.google.com/file/d/14czAAQQcRLGeiddPOM6AaTJTieu6QiHy",
            size="about 290 MB, 72.5 M parameters",
            license="MIT",
            filename="TranSalNet_Res.pth",
        ),
        recognizes=partial(_recognizes, "encoder.encoder.4.0.conv1.weight"),
    ),
    Entry(
        name="transalnet-densenet161",
        kind="fixation",
        license="Apache-2.0",
        build=partial(_build, "densenet161"),
        weights=Weights(
            where=f"{_REPOSITORY}: TranSalNet_Dense, https://drive.google.com/file/d/1JVTYq5UE6Q0OHoOVoXWF5WW5w42jlM1T",
            size="about 307 MB, 76.6 M parameters",
            license="MIT",
            filename="TranSalNet_Dense.pth",
        ),
        recognizes=partial(_recognizes, "encoder.encoder.4.denselayer1.norm1.weight"),
    ),
]
