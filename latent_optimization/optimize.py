"""The loop: noise to latent to loss, the gradient back to the noise, a step; for a batch of independent pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from .best_of import choose_start
from .history import Candidate, Cost, History, Rescored, Row
from .iterates import Iterate, Iterates, gather
from .per_picture import finite, norms, spread
from .presets import Settings
from .random_streams import draw_normal, make_streams
from .renormalize import renormalize, target_norms
from .scoring import Evaluate, Score, Scorer
from .stopping import Watch

Generate = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Progress:
    """What ``on_iteration`` is told.

    Attributes:
        phase: ``"search"`` (best of several noises), ``"optimise"`` or ``"rescore"``.
        iteration: number of the candidate, of the iteration (up to and including ``iterations``), or of the iterate scored anew.
        iterations: updates that were asked for.
        sampler_runs: how often the sampler ran so far.
        expected_sampler_runs: how often it will have run at the end, unless pictures stop early.
        noise: ``(B, ...)``, that of this iteration.
        latent: ``(B, ...)``, what the sampler made of it.
        loss: for each picture; NaN for one that was not scored.
        active: for each picture, whether it is still being optimised.
        history: so far; not to be changed.
    """

    phase: str
    iteration: int
    iterations: int
    sampler_runs: int
    expected_sampler_runs: int
    noise: Tensor
    latent: Tensor
    loss: list[float]
    active: list[bool]
    history: History


@dataclass
class Result:
    """What a run returns.

    Attributes:
        noise: ``(B, ...)``, of the given noise's shape, dtype and device: sampling from it gives ``latent``.
        latent: ``(B, ...)``, as ``generate`` made it.
        history: every number of the run.
        best_loss: ``(B,)`` float64 on the CPU, the lowest loss of each picture, whichever iterate was returned; NaN if none was finite.
        returned_iteration: ``(B,)`` long on the CPU, which iterate each picture's noise and latent are.
        messages: sentences for the user about pictures that stopped early or met numbers that are not finite.
    """

    noise: Tensor
    latent: Tensor
    history: History
    best_loss: Tensor
    returned_iteration: Tensor
    messages: list[str] = field(default_factory=list)


def optimize(
    noise: Tensor,
    generate: Generate,
    evaluate: Evaluate | None,
    settings: Settings,
    generators: Sequence[torch.Generator] | None = None,
    on_iteration: Callable[[Progress], None] | None = None,
    *,
    count_model_calls: Callable[[], int] | None = None,
) -> Result:
    """Optimise the noise of each picture so that what is generated from it has a low loss.

    Each picture is a run of its own: norms, clipping, stopping, step halving, randomness and the choice of the iterate are per picture. A picture
    that has stopped stays in the batch that is generated, with its noise frozen, since samplers that draw noise draw it for a batch of one
    shape; it is not scored any more.

    ``N`` iterations make ``N`` updates and ``N + 1`` sampler runs, the last one without gradient, so that the last iterate has a loss too.
    With 0 iterations (and ``best_of`` 1) the sampler runs once and ``Result.latent`` is exactly ``generate(noise)``; the objective, where
    there is one, is asked once, for the history. ``best_of`` n adds n sampler runs before the first iteration.

    The gradient of the loss in the latent is taken first, and the objective's graph freed; then it is handed to the sampler's backward.
    The sampler's graph is freed before the sampler runs again. Nothing here draws from the global generator.

    Where a loss or a gradient is not finite, the step that led there is undone and taken again at half its size, as are all later steps of that
    picture; where no step led there, the iteration is repeated (with new augmentations). After ``settings.stopping.max_failures`` such
    iterations in a row the picture stops and its best iterate so far is returned.

    Args:
        noise: ``(B, ...)`` floating point. Kept and stepped in float32 at least.
        generate: noise ``(B, ...)`` to latent ``(B, ...)``. Gets noise of the given dtype. Run with autograd on and a noise that requires
            grad where the gradient is wanted, else under ``no_grad``, in whatever inference mode the caller is in.
        evaluate: ``evaluate(latent, iteration, generator, indices)`` to losses and named parts. Called with one picture at a time: latent
            ``(1, ...)``, float32 at least; that picture's own CPU generator for augmentations; its index in the batch, ``(1,)`` long. Returns
            losses ``(1,)``, differentiable in the latent, and parts name -> ``(1,)``. Outside the iterations (``best_of``,
            ``"rescored"``) the iteration is 0, so that nothing cached for an iterate is used for another. ``None`` only if nothing is to be
            optimised or chosen.
        settings: see presets.py.
        generators: one CPU generator for each picture. Their state is read, not advanced. Without, picture ``i`` is seeded with ``i``.
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
    return _Run(noise, generate, evaluate, settings, generators, on_iteration, count_model_calls).execute()


def _check(noise: Tensor, evaluate: Evaluate | None, settings: Settings) -> None:
    if noise.ndim < 2 or noise.numel() == 0:
        raise ValueError(f"The noise has the shape {tuple(noise.shape)}; expected (batch, ...) with at least one element in each picture.")
    if not noise.is_floating_point():
        raise ValueError(f"The noise is of type {noise.dtype}; expected floating point numbers.")
    if settings.iterations == 0 and settings.best_of == 1:
        return
    if evaluate is None:
        raise ValueError("There is no objective to optimise; connect one, or set iterations to 0 and best_of to 1 to sample plainly.")
    if not all(finite(noise)):
        raise ValueError("The noise has numbers that are not finite, so it cannot be optimised; check the node that makes it.")


class _Run:
    """One call of ``optimize``: what changes from iteration to iteration, and the steps of it."""

    def __init__(
        self,
        noise: Tensor,
        generate: Generate,
        evaluate: Evaluate | None,
        settings: Settings,
        generators: Sequence[torch.Generator] | None,
        on_iteration: Callable[[Progress], None] | None,
        count_model_calls: Callable[[], int] | None,
    ) -> None:
        self.settings = settings
        self.batch = len(noise)
        self.dtype = noise.dtype
        self.x = noise.detach().to(torch.promote_types(noise.dtype, torch.float32))
        self.generate = generate
        self.scorer = Scorer(evaluate) if evaluate is not None else None
        self.streams = make_streams(generators, self.batch)
        self.on_iteration = on_iteration
        self.count_model_calls = count_model_calls
        self.began = time.monotonic()
        self.sampler_runs = 0
        self.sampler_backwards = 0
        self.history = History(self.batch, noise[0].numel(), asdict(settings))
        self.active = [True] * self.batch
        self.stopped: list[str | None] = [None] * self.batch
        self.fallen_back = [False] * self.batch
        self.failed_at: list[list[int]] = [[] for _ in range(self.batch)]
        self.watches = [Watch(settings.stopping) for _ in range(self.batch)]
        self.iterates = [Iterates(keep_all=settings.returned == "rescored") for _ in range(self.batch)]

    def execute(self) -> Result:
        """Search, iterate, look at the last iterate, choose."""
        latent: Tensor | None = None
        losses = [math.nan] * self.batch
        self.history.chosen = [0] * self.batch
        if self.settings.best_of > 1:
            latent, losses = self._search()
        if self.settings.iterations == 0 and latent is not None:
            self._note(0, latent, [Score(loss, {}) for loss in losses])
        elif self.settings.iterations == 0:
            latent = self._look(0)
        else:
            latent = self._descend()
        return self._result(latent)

    # --- before the iterations

    def _search(self) -> tuple[Tensor, list[float]]:
        def attempt(number: int, noise: Tensor) -> tuple[Tensor, list[float]]:
            latent = self._sample(noise)
            # The same augmentations for every candidate: they are compared by what is in the picture, not by luck with the views.
            generators = [_copy(streams.augmentations) for streams in self.streams]
            losses = [score.loss for score in self._scores(latent, 0, generators, with_gradient=False)]
            self.history.candidates.append(Candidate(number, losses, self._cost()))
            self._tell("search", number, noise, latent, losses)
            return latent, losses

        generators = [streams.candidates for streams in self.streams]
        self.x, latent, losses, self.history.chosen = choose_start(self.x, self.settings.best_of, generators, attempt)
        return latent, losses

    # --- the iterations

    def _descend(self) -> Tensor:
        self.targets = target_norms(self.x, self.settings.renormalize)
        self.state = self.settings.rule.start(self.x)
        # Where each picture's last step began, and the step before its factor: enough to undo it and take a shorter one.
        self.origin, self.step = self.x, torch.zeros_like(self.x)
        self.stepped = [False] * self.batch
        self.factor = [1.0] * self.batch
        for iteration in range(self.settings.iterations):
            latent = self._iterate(iteration)
            if not any(self.active):
                return latent
        return self._look(self.settings.iterations)

    def _iterate(self, iteration: int) -> Tensor:
        was_active = list(self.active)
        scores, latent, gradient = self._gradients(iteration)
        gradient, penalty = self._regularized(gradient)
        good = [score.finite and ok for score, ok in zip(scores, finite(gradient), strict=True)]
        self._remember(iteration, scores, latent)
        for index in range(self.batch):
            if was_active[index]:
                self._judge(index, iteration, scores[index].loss, good[index])
        before = self.x
        moving = [active and ok for active, ok in zip(self.active, good, strict=True)]
        retrying = [a and not ok and stepped for a, ok, stepped in zip(self.active, good, self.stepped, strict=True)]
        self._move(gradient, moving, retrying)
        moved = [a or b for a, b in zip(moving, retrying, strict=True)]
        self.history.rows.append(
            Row(
                iteration,
                [score.loss for score in scores],
                _columns(scores),
                _where(was_active, penalty),
                _where(was_active, norms(gradient).tolist()),
                _where(moved, norms(self.x - before).tolist()),
                norms(before).tolist(),
                list(self.factor),
                was_active,
                good,
                self._cost(),
            )
        )
        self._tell("optimise", iteration, before, latent, [score.loss for score in scores])
        return latent

    def _gradients(self, iteration: int) -> tuple[list[Score], Tensor, Tensor]:
        """Scores of the active pictures, the latent, and the gradient in the noise: zero for pictures without a finite score."""
        generators = [streams.augmentations for streams in self.streams]
        with torch.inference_mode(False), torch.enable_grad():
            leaf = self.x.clone().requires_grad_()
            latent = self._checked(self.generate(leaf.to(self.dtype)))
            if not latent.requires_grad:
                raise ValueError(
                    "What the sampler returns does not depend on its noise in a way that can be differentiated; "
                    "it has to be run with gradients. To sample without optimising, set iterations to 0."
                )
            scores = self._scores(latent, iteration, generators, with_gradient=True)
            seeds = torch.zeros_like(latent)
            usable = [index for index, score in enumerate(scores) if score.finite and score.gradient is not None]
            for index in usable:
                seeds[index] = scores[index].gradient[0].to(seeds)  # type: ignore[index]
            gradient = None
            if usable:
                (gradient,) = torch.autograd.grad(latent, leaf, seeds, allow_unused=True)
                self.sampler_backwards += 1
        return scores, latent.detach(), torch.zeros_like(self.x) if gradient is None else gradient.detach()

    def _regularized(self, gradient: Tensor) -> tuple[Tensor, list[float]]:
        regularizer = self.settings.regularizer
        if regularizer is None:
            return gradient, [math.nan] * self.batch
        with torch.inference_mode(False), torch.enable_grad():
            leaf = self.x.clone().requires_grad_()
            values = regularizer(leaf)
            (own,) = torch.autograd.grad(values.sum(), leaf)
        return gradient + regularizer.weight * own, values.detach().tolist()

    def _judge(self, index: int, iteration: int, loss: float, good: bool) -> None:
        """Let the early stop see an iteration; halve the step size of a picture that failed."""
        watch = self.watches[index]
        if good:
            reason = watch.saw(loss)
        else:
            self.failed_at[index].append(iteration)
            self.factor[index] /= 2
            reason = watch.failed()
            self.fallen_back[index] = reason is not None
        if reason is not None:
            self.active[index] = False
            self.stopped[index] = f"{reason} (iteration {iteration})"

    def _move(self, gradient: Tensor, moving: list[bool], retrying: list[bool]) -> None:
        """Step the moving pictures, take the retrying ones' last step again at its new factor, leave the others where they are."""
        moves, changes = spread(moving, self.x), spread([a or b for a, b in zip(moving, retrying, strict=True)], self.x)
        # Drawn for stopped pictures too, so that nobody's randomness depends on another's fate.
        step, state = self.settings.rule.step(torch.where(moves, gradient, 0), self.state, self._perturbation)
        self.state = {name: torch.where(spread(moving, new), new, self.state[name]) for name, new in state.items()}
        self.origin = torch.where(moves, self.x, self.origin)
        self.step = torch.where(moves, step, self.step)
        self.stepped = [a or b for a, b in zip(self.stepped, moving, strict=True)]
        there = renormalize(self.origin + spread(self.factor, self.x) * self.step, self.targets)
        self.x = torch.where(changes, there, self.x)
        for index, fallen in enumerate(self.fallen_back):
            if fallen:  # its own noise gave numbers that are not finite; the batch had better not see it again
                self.x[index] = self.iterates[index].best.noise

    def _perturbation(self) -> Tensor:
        return draw_normal([streams.perturbations for streams in self.streams], self.x)

    # --- without gradient

    def _look(self, iteration: int) -> Tensor:
        """Sample once and score the active pictures."""
        latent = self._sample(self.x)
        generators = [streams.augmentations for streams in self.streams]
        self._note(iteration, latent, self._scores(latent, iteration, generators, with_gradient=False))
        return latent

    def _note(self, iteration: int, latent: Tensor, scores: list[Score]) -> None:
        self._remember(iteration, scores, latent)
        losses = [score.loss for score in scores]
        unknown = [math.nan] * self.batch
        factor = list(getattr(self, "factor", [1.0] * self.batch))
        good = [score.finite for score in scores]
        if self.scorer is not None:
            for index in range(self.batch):
                if self.active[index] and not good[index]:
                    self.failed_at[index].append(iteration)
        own = norms(self.x).tolist()
        self.history.rows.append(
            Row(iteration, losses, _columns(scores), unknown, unknown, unknown, own, factor, list(self.active), good, self._cost())
        )
        self._tell("optimise", iteration, self.x, latent, losses)

    def _sample(self, noise: Tensor) -> Tensor:
        with torch.no_grad():
            return self._checked(self.generate(noise.to(self.dtype)))

    def _checked(self, latent: Tensor) -> Tensor:
        self.sampler_runs += 1
        if latent.ndim < 1 or len(latent) != self.batch:
            raise ValueError(f"The sampler returned a latent of shape {tuple(latent.shape)} for a batch of {self.batch}.")
        return latent

    def _scores(self, latent: Tensor, iteration: int, generators: list[torch.Generator], *, with_gradient: bool) -> list[Score]:
        if self.scorer is None:
            return [Score() for _ in range(self.batch)]
        return [
            self.scorer.score(latent, index, iteration, generators[index], with_gradient=with_gradient) if self.active[index] else Score()
            for index in range(self.batch)
        ]

    def _remember(self, iteration: int, scores: list[Score], latent: Tensor) -> None:
        for index, score in enumerate(scores):
            if self.active[index]:
                self.iterates[index].add(iteration, score.loss, self.x[index], latent[index])

    # --- the choice

    def _result(self, latent: Tensor) -> Result:
        chosen = [self._choose(index, latent) for index in range(self.batch)]
        noises, latents = gather(chosen, self.x, latent)
        self.history.stopped = self.stopped
        self.history.returned_iteration = [iterate.iteration for iterate in chosen]
        self.history.cost = self._cost()
        return Result(
            noises.to(self.dtype),
            latents,
            self.history,
            torch.tensor([iterates.best.loss for iterates in self.iterates], dtype=torch.float64),
            torch.tensor(self.history.returned_iteration),
            self._messages(),
        )

    def _choose(self, index: int, latent: Tensor) -> Iterate:
        iterates = self.iterates[index]
        if self.settings.returned == "rescored" and len(iterates.shortlist(self.settings.rescoring_candidates)) > 1:
            return iterates.rescored(self.settings.rescoring_candidates, lambda iterate: self._rescore(index, iterate, latent))
        if self.settings.returned == "last" and not self.fallen_back[index]:
            return iterates.last
        return iterates.best

    def _rescore(self, index: int, iterate: Iterate, latent: Tensor) -> float:
        assert self.scorer is not None
        generator = _copy(self.streams[index].rescoring)  # the same views for every iterate of a picture
        whole = latent.clone()
        whole[index] = iterate.latent.to(latent)
        views = range(self.settings.rescoring_views)
        loss = sum(self.scorer.score(whole, index, 0, generator).loss for _ in views) / len(views)
        self.history.rescored.append(Rescored(index, iterate.iteration, loss, self._cost()))
        self._tell("rescore", iterate.iteration, self.x, latent, [loss if other == index else math.nan for other in range(self.batch)])
        return loss

    def _messages(self) -> list[str]:
        messages = []
        for index in range(self.batch):
            name, failed, reason = f"Picture {index + 1}", self.failed_at[index], self.stopped[index]
            returned = self.history.returned_iteration[index]
            if failed and not math.isfinite(self.iterates[index].best.loss):
                messages.append(f"{name}: no finite loss was found, so its noise is returned as it was.")
            elif failed and reason is None:
                where = ", ".join(map(str, failed))
                messages.append(f"{name}: the loss or gradient was not finite at iteration {where}; its step was undone and its step size halved.")
            if reason is not None:
                messages.append(f"{name} stopped early: {reason}. Iteration {returned} is returned.")
        return messages

    # --- bookkeeping

    def _cost(self) -> Cost:
        return Cost(
            self.sampler_runs,
            self.sampler_backwards,
            self.scorer.evaluations if self.scorer is not None else 0,
            self.count_model_calls() if self.count_model_calls is not None else None,
            time.monotonic() - self.began,
        )

    def _tell(self, phase: str, iteration: int, noise: Tensor, latent: Tensor, losses: list[float]) -> None:
        if self.on_iteration is None:
            return
        settings = self.settings
        searches = settings.best_of if settings.best_of > 1 else 0
        expected = searches + (settings.iterations + 1 if settings.iterations or not searches else 0)
        self.on_iteration(
            Progress(
                phase, iteration, settings.iterations, self.sampler_runs, expected, noise, latent, losses, list(self.active), self.history
            )
        )


def _copy(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())


def _where(mask: list[bool], values: list[float]) -> list[float]:
    return [value if keep else math.nan for keep, value in zip(mask, values, strict=True)]


def _columns(scores: list[Score]) -> dict[str, list[float]]:
    """Parts by name, one number per picture, NaN where a picture has none."""
    names = dict.fromkeys(name for score in scores for name in (score.parts or {}))
    return {name: [(score.parts or {}).get(name, math.nan) for score in scores] for name in names}
