"""Optimize the noise of a batch of images by gradients through their sampler: the library's one entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .per_image import finite
from .presets import Settings
from .random_streams import make_streams
from .results import Progress, Result
from .run import Generate, Run
from .scoring import Evaluate

__all__ = ["Evaluate", "Generate", "Progress", "Result", "optimize"]


def optimize(
    noise: Tensor,
    generate: Generate,
    evaluate: Evaluate | None,
    settings: Settings,
    *,
    generators: Sequence[torch.Generator] | None = None,
    on_iteration: Callable[[Progress], None] | None = None,
    count_model_calls: Callable[[], int] | None = None,
) -> Result:
    """Optimize the noise of each image so that what is generated from it has a low loss.

    Each image is a run of its own: norms, clipping, stopping, step halving, randomness and the choice of the iterate are per image.
    An image that has stopped stays in the batch that is generated, with its noise frozen, since samplers that draw noise draw it for a
    batch of one shape; it is not scored any more.

    ``N`` iterations make ``N`` updates and ``N + 1`` sampler runs, the last one without gradient, so that the last iterate has a loss too.
    With 0 iterations (and ``best_of`` 1) the sampler runs once and ``Result.latent`` is exactly ``generate(noise)``; the objective, where
    there is one, is asked once, for the history. ``best_of`` n adds n sampler runs before the first iteration.

    The gradient of the loss in the latent is taken first, and the objective's graph freed; then it is handed to the sampler's backward.
    The sampler's graph is freed before the sampler runs again. Nothing here draws from the global generator.

    Where a loss or a gradient is not finite, the step that led there is undone and taken again at half its size, as are all later steps
    of that image; where no step led there, the iteration is repeated (with new augmentations). After
    ``settings.stopping.max_failures`` such iterations in a row the image stops and its best iterate so far is returned.

    Args:
        noise: ``(B, ...)`` floating point. Kept and stepped in float32 at least.
        generate: noise ``(B, ...)`` to latent ``(B, ...)``. Gets noise of the given dtype. Run with autograd on and a noise that requires
            grad where the gradient is wanted, else under ``no_grad``, in whatever inference mode the caller is in.
        evaluate: ``evaluate(latent, iteration, generator, indices)`` to losses and named parts. Called with one image at a time:
            latent ``(1, ...)``, float32 at least; that image's own CPU generator for augmentations, or ``None`` for none of them (a
            search, unless ``search_augmented``); its index in the batch, ``(1,)`` long. Returns losses ``(1,)``, differentiable in the
            latent, and parts name -> ``(1,)``. Outside the iterations (``best_of``, ``"rescored"``) the iteration is 0, so that nothing
            cached for an iterate is used for another. ``None`` only if nothing is to be optimized or chosen.
        settings: see presets.py.
        generators: one CPU generator for each image. Their state is read, not advanced. Without, image ``i`` is seeded with ``i``.
        on_iteration: told of every candidate, iteration and rescoring; what it raises ends the run and passes through. No graph is alive
            when it is called.
        count_model_calls: returns how often the diffusion model was called so far, for the history's cost.

    Returns:
        The chosen iterates, the history, and messages for the user.

    Raises:
        ValueError: for noise without a batch, not floating point, not finite or all zeros (where its norm is to be kept); for a missing
            objective; a wrong number of generators; a latent of another batch size; losses of another shape; or if latent or loss cannot be
            differentiated.
    """
    _check(noise, evaluate, settings)
    streams = make_streams(generators, len(noise))
    run = Run(noise, generate, evaluate, settings, streams=streams, on_iteration=on_iteration, count_model_calls=count_model_calls)
    return run.execute()


def _check(noise: Tensor, evaluate: Evaluate | None, settings: Settings) -> None:
    if noise.ndim < 2 or noise.numel() == 0:
        raise ValueError(f"The noise has the shape {tuple(noise.shape)}; expected (batch, ...) with at least one element in each image.")
    if not noise.is_floating_point():
        raise ValueError(f"The noise is of type {noise.dtype}; expected floating point numbers.")
    if settings.iterations == 0 and settings.best_of == 1:
        return
    if evaluate is None:
        raise ValueError("There is no objective to optimize; connect one, or set iterations to 0 and best_of to 1 to sample plainly.")
    if not all(finite(noise)):
        raise ValueError("The noise has numbers that are not finite, so it cannot be optimized; check the node that makes it.")
