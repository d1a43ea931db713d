"""SGOOL's loop: noise to latent to loss, the gradient back to the noise, a step; for a batch of independent images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..numerics.loss_scaling import vector_jacobian
from .batch import Batch
from .held_out import GIVEN, RETURNED, SEARCHED, Watcher
from .history import History
from .per_image import finite
from .random_streams import streams_for
from .recorder import Generate, Recorder
from .regularizers import penalty
from .score import Evaluate, Score
from .scoring import Scorer
from .search import search
from .settings import Settings
from .steps import Steps
from .top_k import Kept, TopK
from .trust_region import StepVerdict


@dataclass
class Result:
    """What a run returns.

    Attributes:
        noise: ``(B, ...)``, of the given noise's shape, dtype and device: sampling from it gives ``latent``.
        latent: ``(B, ...)``, as ``generate`` made it.
        history: every number of the run.
        messages: sentences for the user about images that stopped early or met numbers that are not finite.
        top: of each image, the best of those that the run made, that of ``latent`` first; empty where nobody asked for them.
    """

    noise: Tensor
    latent: Tensor
    history: History
    messages: list[str] = field(default_factory=list)
    top: list[list[Kept]] = field(default_factory=list)


def optimize(
    noise: Tensor,
    generate: Generate,
    evaluate: Evaluate | None,
    settings: Settings,
    *,
    seed: int = 0,
    recorder: Recorder | None = None,
    held_out: Evaluate | None = None,
    at_once: Callable[[], int] | None = None,
    top: TopK | None = None,
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

    With a trust region each step is judged before it is gone on from, by one more evaluation without gradient: the loss there under the
    augmentations of before the step. One that did not lower it is taken back; that iteration has no gradient, and ends with a shorter step
    from the same noise. A last step that is taken back returns none of itself.

    Where a loss or a gradient is not finite, the step that led there is undone and taken again at half its size, as are all later steps
    of that image; where no step led there, the iteration is repeated (with new augmentations). After
    ``settings.stopping.max_failures`` such iterations in a row the image stops and its best iterate so far is returned.

    Args:
        noise: ``(B, ...)`` floating point. Kept and stepped in float32 at least.
        generate: noise ``(B, ...)`` to latent ``(B, ...)``. Gets noise of the given dtype. Run with autograd on and a noise that requires
            grad where the gradient is wanted, else under ``no_grad``, in whatever inference mode the caller is in.
        evaluate: ``evaluate(latent, index, iteration, generator)`` to a loss ``(1,)``, differentiable in the latent, and its named parts
            ``(1,)``. Asked about one image at a time: latent ``(1, ...)``, float32 at least; its index in the batch; that image's own CPU
            generator for augmentations, or ``None`` for none of them (a search, unless ``search_augmented``). Outside the iterations
            (``best_of``, ``"rescored"``) the iteration is 0, so that nothing cached for an iterate is used for another. ``None`` only if
            nothing is to be optimized or chosen.
        settings: see settings.py.
        seed: of everything random in the run, together with each image's own noise (random_streams.py).
        recorder: keeps the history and tells of progress; one of its own where ``None``.
        held_out: as ``evaluate``, but only asked, before and after (held_out.py): nothing is optimized for it or chosen by it.
        at_once: how many noises of each image ``generate`` may be given together in a search, a whole batch after another; asked anew
            each time. ``None`` for one.
        top: keeps the best images that the run makes (top_k.py); changes nothing else.

    Returns:
        The chosen iterates, the history, and messages for the user.

    Raises:
        ValueError: for noise without a batch, not floating point, not finite or all zeros (where its norm is to be kept); for a missing
            objective; a latent of another batch size; losses of another shape; or if latent or loss cannot be differentiated.
    """
    _check(noise, evaluate, settings)
    recorder = recorder or Recorder()
    recorder.begin(noise, settings)
    sample = recorder.counted(generate, noise.dtype)
    streams = streams_for(noise, seed)
    watcher = Watcher(scorer := Scorer(evaluate, streams, recorder), held_out, recorder)
    (top := top or TopK()).begin(noise, scorer.score_plainly)
    batch = Batch(len(noise), settings, top)
    x = noise.detach().to(torch.promote_types(noise.dtype, torch.float32))
    start, messages = None, list[str]()
    if settings.best_of > 1:
        given = partial(watcher.look, GIVEN)
        start, messages = search(
            x, sample, scorer=scorer, settings=settings, streams=streams, recorder=recorder, on_given=given, at_once=at_once, top=top
        )
        x, latent, scores = start.noise, start.latent, start.scores
    steps, verdict = Steps(x, settings, streams), StepVerdict.none(len(x))

    for iteration in range(settings.iterations):
        active = batch.active
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.clone().requires_grad_()
            latent = sample(leaf)
            regularizer, noise_gradient = penalty(settings.regularizer, x)
            verdict, scores = _scored(scorer, latent, active, iteration, steps=steps, regularizer=regularizer, with_gradient=True)
            gradient = _gradient_in_noise(latent, leaf, scores)
        latent = latent.detach()
        if iteration == 0:
            watcher.look(GIVEN if start is None else SEARCHED, latent)
        recorder.differentiated(gradient is not None)
        if settings.smoothing is not None and gradient is not None:
            usable = [score.gradient is not None and score.finite for score in scores]
            gradient = settings.smoothing.average(gradient, x, usable, streams, _near(sample, scorer, usable, iteration, recorder))
        gradient = noise_gradient if gradient is None else gradient + noise_gradient
        batch.add(iteration, scores, x, latent, verdict.rejected)
        good = batch.check(iteration, scores, gradient)
        losses = [score.loss for score in scores]
        steps.take(gradient, good, active, batch, losses=losses, regularizer=regularizer, rejected=verdict.rejected)
        recorder.iteration(iteration, x, scores, active, good, steps=steps, verdict=verdict, gradient=gradient, regularizer=regularizer)
        x = steps.noise
        if not any(batch.active):
            break
    else:
        if start is None or settings.iterations:  # else the search has sampled and scored this noise
            with torch.no_grad():
                latent = sample(x)
            regularizer, _ = penalty(settings.regularizer, x)
            verdict, scores = _scored(scorer, latent, batch.active, settings.iterations, steps=steps, regularizer=regularizer)
        batch.add(settings.iterations, scores, x, latent, verdict.rejected)
        good = batch.check(settings.iterations, scores) if evaluate is not None else [False] * len(x)
        recorder.iteration(settings.iterations, x, scores, batch.active, good, steps=steps, verdict=verdict)

    noises, latents, returned = batch.choose(x, latent, scorer.rescore(settings.rescoring_augmentations, latent))
    watcher.look(RETURNED, latents)
    history = recorder.end(batch, returned)
    return Result(
        noises.to(noise.dtype),
        latents,
        history,
        [*messages, *batch.messages(returned), *watcher.messages(), *top.messages()],
        top.ranked(noises, latents, returned, history.started_from),
    )


def _scored(
    scorer: Scorer,
    latent: Tensor,
    active: list[bool],
    iteration: int,
    *,
    steps: Steps,
    regularizer: list[float],
    with_gradient: bool = False,
) -> tuple[StepVerdict, list[Score]]:
    """What came of the steps that a trust region judges, and the scores of the active images with new augmentations.

    A step that is taken back leaves its image with the score that decided it, under the augmentations of before the step.
    """
    judged = [wanted and step for wanted, step in zip(active, steps.judged, strict=True)]
    if not any(judged):
        return StepVerdict.none(len(latent)), scorer.score(latent, active, iteration, with_gradient=with_gradient)
    tried = scorer.score_again(latent, judged, iteration)
    verdict = steps.judge([score.loss for score in tried], regularizer)
    kept = [wanted and not back for wanted, back in zip(active, verdict.rejected, strict=True)]
    scores = scorer.score(latent, kept, iteration, with_gradient=with_gradient)
    return verdict, [old if back else new for old, new, back in zip(tried, scores, verdict.rejected, strict=True)]


def _gradient_in_noise(latent: Tensor, leaf: Tensor, scores: list[Score]) -> Tensor | None:
    """The scores' gradients in ``latent (B, ...)`` sent back through the sampler to ``leaf``; ``None`` where no image has one.

    Images without a finite score send nothing.
    """
    if not latent.requires_grad:
        raise ValueError(
            "What the sampler returns has no gradient in its noise: the sampler, or a patch on the model, detaches it or computes outside "
            "of torch. Take another sampler (euler, dpmpp_2m...) or leave out the patch; iterations 0 samples without optimizing."
        )
    incoming = torch.zeros_like(latent)
    usable = [(index, score.gradient) for index, score in enumerate(scores) if score.finite and score.gradient is not None]
    for index, gradient in usable:
        incoming[index] = gradient[0].to(incoming)
    return vector_jacobian(latent, leaf, incoming) if usable else None


def _near(sample: Generate, scorer: Scorer, wanted: list[bool], iteration: int, recorder: Recorder) -> Callable[[Tensor], Tensor | None]:
    """The gradient at other noises ``(B, ...)`` than an iterate's, under the iterate's augmentations."""

    def gradient_at(noise: Tensor) -> Tensor | None:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = noise.clone().requires_grad_()
            latent = sample(leaf)
            gradient = _gradient_in_noise(latent, leaf, scorer.score_again(latent, wanted, iteration, with_gradient=True))
        recorder.differentiated(gradient is not None)
        return gradient

    return gradient_at


def _check(noise: Tensor, evaluate: Evaluate | None, settings: Settings) -> None:
    if noise.ndim < 2 or noise.numel() == 0:
        raise ValueError(f"The noise has the shape {tuple(noise.shape)}; expected (batch, ...) with at least one element in each image.")
    if not noise.is_floating_point():
        raise ValueError(f"The noise is of type {noise.dtype}; expected floating point numbers.")
    if not settings.changes_noise:
        return
    if evaluate is None:
        raise ValueError("There is no objective to optimize; connect one, or set iterations to 0 and best_of to 1 to sample plainly.")
    if not all(finite(noise)):
        raise ValueError("The noise has numbers that are not finite, so it cannot be optimized; check the node that makes it.")
