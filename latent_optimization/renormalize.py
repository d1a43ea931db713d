"""Keeping the noise as long as Gaussian noise is: a sampler knows no other.

A Gaussian of many dimensions d lies almost wholly on a shell of radius sqrt(d); noise of another norm is outside what the model was
trained on and comes out dull or overexposed.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .per_image import norms, spread
from .white_projection import project_white

MODES = ("initial", "shell", "white", "none")


def keeper(noise: Tensor, mode: str) -> Callable[[Tensor], Tensor]:
    """What is done to noise after each step, for the ``noise (B, ...)`` before the first: :func:`renormalize`, or a white spectrum.

    ``"white"`` is the projection of white_projection.py, which fixes the norm as well. A small step is then no small change: noise as it
    is drawn lies beside the set, and comes onto it with the first step.

    Raises:
        ValueError: as :func:`target_norms` does.
    """
    targets = target_norms(noise, mode)
    return project_white if mode == "white" else lambda moved: renormalize(moved, targets)


def target_norms(noise: Tensor, mode: str) -> Tensor | None:
    """The norm that each image of ``noise (B, ...)`` is to keep, ``(B,)``, or ``None`` for no renormalization.

    Args:
        noise: the noise before the first update.
        mode: ``"initial"``: its own norm (DOODL, arXiv 2303.13703, ``renormalize_latents``); ``"shell"``: sqrt(d), the radius of the
            Gaussian shell, d the elements of one image, and so is it for ``"white"``; ``"none"``.

    Raises:
        ValueError: for another mode, or noise of zeros unless the mode is ``"none"``: there is no norm to keep, and the norm of a Gaussian
            would add noise where somebody wanted none.
    """
    if mode not in MODES:
        raise ValueError(f"Unknown renormalization {mode!r}. Expected one of {', '.join(MODES)}.")
    if mode == "none":
        return None
    own = norms(noise)
    empty = [index + 1 for index, norm in enumerate(own.tolist()) if norm == 0]
    if empty:
        raise ValueError(
            f"The noise of image {', '.join(map(str, empty))} is all zeros (Disable Noise), so there is no norm to keep. "
            "Connect a noise (RandomNoise), or set renormalize to 'none' to let the optimizer add what helps."
        )
    return own if mode == "initial" else own.new_full((len(noise),), noise[0].numel() ** 0.5)


def renormalize(noise: Tensor, targets: Tensor | None) -> Tensor:
    """``noise (B, ...)`` with each image scaled to its target norm; without targets, and for an image of zeros, as it is."""
    if targets is None:
        return noise
    own = norms(noise)
    return noise * spread((targets / own.where(own > 0, 1.0)).where(own > 0, 1.0), noise)
