"""The nearest point of a set that white Gaussian noise lies close to, block by block of its spectrum.

After Hwang and Sung, "Gradient Preconditioning for Efficient and Reliable Reward-Guided Generation" (arXiv 2602.08646): the unitary
discrete Fourier transform of an image's N elements in a row, without what its symmetry repeats, is N / 2 complex numbers, independent and
of unit variance where the elements are white noise (``y_0`` is the pair of real ones, the first and the middle, over sqrt(2)). In each
block of 16 of them the sum of the magnitudes is to be its expectation, sqrt(pi) / 2 for each, and the sum of the squares 1 for each. The
nearest such block has the same phases and magnitudes ``c * max(|y| - t, 0)``; ``t`` and ``c`` follow from the two sums in closed form.

It was written from a summary of the paper (the set, the block size) and a third party's program (that elements stand in one row), and
derived anew; the authors' program could not be read. Ours: what to do where N is no multiple of 32 (the last block is larger, or is all
there is; an odd N keeps the sign of its first coefficient, whose magnitude becomes 1), and where a block has equal magnitudes, so that no
point is nearest (a slope of a thousandth decides).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 16
_RATIO = math.pi / 4
"""Of the squared sum of magnitudes to the sum of squares, for each number of a block."""


def project_white(x: Tensor, block: int = BLOCK) -> Tensor:
    """Each image of ``x (B, ...)`` projected, whatever its scale; of ``x``'s shape and dtype. An image of zeros stays zeros.

    Args:
        x: any number of channels and dimensions, at least 4 elements in an image; computed in float32 at least.
        block: complex numbers in a block.

    Raises:
        ValueError: for a block of fewer than 2, or an image of fewer than 4 elements.
    """
    if block < 2 or x[0].numel() < 4:
        raise ValueError(f"White noise needs at least 4 elements and blocks of 2; this is {x[0].numel()} elements in blocks of {block}.")
    flat = x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))
    # The set has one scale, and a point's projection does not change with its scale: no gradient is too small.
    flat = flat / flat.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    first, compact = _spectrum(flat)
    whole = compact.shape[1] // block * block
    head, tail = (whole, 0) if whole == compact.shape[1] else (max(0, whole - block), compact.shape[1] - max(0, whole - block))
    parts = [_projected(compact[:, :head].reshape(len(x), -1, block)).flatten(1)] if head else []
    parts += [_projected(compact[:, None, head:])[:, 0]] if tail else []
    projected = _signal(first, torch.cat(parts, dim=1), flat.shape[1]).reshape(x.shape)
    empty = (x.flatten(1) == 0).all(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(empty, torch.zeros_like(x), projected.to(x.dtype))


def _spectrum(flat: Tensor) -> tuple[Tensor, Tensor]:
    """The first coefficient ``(B, 1)`` real, and the independent complex ones ``(B, N // 2)``; with an even N the first is among these."""
    spectrum = torch.fft.rfft(flat, norm="ortho")
    first, middle = spectrum[:, :1].real, spectrum[:, -1:].real
    if flat.shape[1] % 2:
        return first, spectrum[:, 1:]
    return first, torch.cat([torch.complex(first, middle) / 2**0.5, spectrum[:, 1:-1]], dim=1)


def _signal(first: Tensor, compact: Tensor, elements: int) -> Tensor:
    """The inverse of :func:`_spectrum`; of an odd number of elements, the first coefficient gets the magnitude 1."""
    if elements % 2:
        spectrum = torch.cat([torch.where(first < 0, -1.0, 1.0).to(compact), compact], dim=1)
    else:
        ends = compact[:, :1] * 2**0.5
        spectrum = torch.cat([ends.real.to(compact), compact[:, 1:], ends.imag.to(compact)], dim=1)
    return torch.fft.irfft(spectrum, n=elements, norm="ortho")


def _projected(blocks: Tensor) -> Tensor:
    """``(B, blocks, n)`` complex, each block projected on magnitudes of sum sqrt(pi) / 2 n and sum of squares n."""
    n = blocks.shape[-1]
    magnitudes = blocks.abs()
    slope = torch.linspace(1e-3, 0, n, device=blocks.device, dtype=magnitudes.dtype)
    flat = magnitudes.amax(-1, keepdim=True) - magnitudes.amin(-1, keepdim=True) <= 1e-7 * magnitudes.amax(-1, keepdim=True)
    magnitudes = torch.where(flat, magnitudes.amax(-1, keepdim=True).clamp_min(1e-6) * (1 + slope), magnitudes)
    raised = (magnitudes - _threshold(magnitudes)).clamp_min(0)
    scaled = raised * (math.sqrt(_RATIO) * n / raised.sum(-1, keepdim=True))
    phases = torch.where(blocks == 0, torch.ones_like(blocks), blocks / blocks.abs().clamp_min(torch.finfo(magnitudes.dtype).tiny))
    return scaled * phases


def _threshold(magnitudes: Tensor) -> Tensor:
    """``t`` of each block ``(..., n)``, as ``(..., 1)``: of the k largest magnitudes less t, squared sum over sum of squares is pi / 4 n.

    That is a quadratic equation in t for each k; the k looked for is that for which t parts the k largest from the others.
    """
    n = magnitudes.shape[-1]
    least = math.floor(_RATIO * n) + 1
    ordered = magnitudes.sort(dim=-1, descending=True).values
    k = torch.arange(least, n + 1, device=ordered.device, dtype=ordered.dtype)
    sums = ordered.cumsum(-1)[..., least - 1 :]
    # k times the spread of the k largest, from what they differ by: the difference of two large sums would round to nothing.
    mean = sums / k
    spread = torch.stack([(ordered[..., :size] - mean[..., i : i + 1]).square().sum(-1) for i, size in enumerate(range(least, n + 1))], -1)
    thresholds = mean - (_RATIO * n * spread / (k * (k - _RATIO * n))).sqrt()
    following = torch.nn.functional.pad(ordered[..., least:], (0, 1), value=-math.inf)
    wrong_by = torch.maximum(following - thresholds, thresholds - ordered[..., least - 1 :])
    return thresholds.gather(-1, wrong_by.argmin(-1, keepdim=True))
