"""Reversible solvers as SAMPLERs: in core's nodes, on every model family, and under the optimizer of the noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustom, SamplerCustomAdvanced
from sgool.comfy_bridge import run_progress
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.guidance.objective import Objective
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule
from sgool.latent_optimization.presets import CHECK_NEVER, PRESETS, Preset
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM, McCallumFoster, Solver
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.work import Position
from torch import Tensor

from .analytic import AnalyticGuider, directional, relative_error
from .objectives import Red
from .tiny_models import MODEL_TYPES, conditioning, tiny_model, tiny_vae

pytestmark = pytest.mark.comfyui
SOLVERS = [EDICT(), BDIA(), OBELM(), McCallumFoster()]
SHAPE = (2, 4, 8, 8)


def noise(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = (2, 3, 4, 4)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def analytic_run(solver: Solver, kind: str = "eps", steps: int = 6, masked: bool = False, **kwargs: Any) -> NoiseToLatent:
    guider = AnalyticGuider(kind)
    sigmas = comfy.samplers.calculate_sigmas(guider.inner_model.model_sampling, "normal", steps).double()
    latent_image, mask = torch.zeros((), dtype=torch.float64), None
    if masked:
        latent_image = noise() * 0.5 + 1
        mask = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
        mask[:, :, :, :2] = 1
    sampler = ReversibleSampler(solver, pair=kwargs.pop("pair", None))
    sigmas = kwargs.pop("sigmas", sigmas)
    return NoiseToLatent(sampler, guider, sigmas, {"model_options": {}, "seed": 7}, latent_image, mask, **kwargs)


def sampled(model: Any, sampler: Any, steps: int = 6, latent: dict[str, Any] | None = None, cfg: float = 2.0) -> Tensor:
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", steps)
    latent = latent or {"samples": torch.zeros(SHAPE)}
    with torch.inference_mode():
        return SamplerCustom.execute(model, True, 5, cfg, conditioning(1), conditioning(2), sampler, sigmas, latent)[0]["samples"]


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_it_samples_in_cores_nodes(solver: Solver, kind: str) -> None:
    model = tiny_model(kind)
    sampler = ReversibleSampler(solver)
    first = sampled(model, sampler)
    assert first.shape == SHAPE
    assert torch.isfinite(first).all()
    assert torch.equal(sampled(model, sampler), first)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(1), conditioning(2))
    guider.set_cfg(2.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 6)
    with torch.inference_mode():
        advanced = SamplerCustomAdvanced.execute(Noise_RandomNoise(5), guider, sampler, sigmas, {"samples": torch.zeros(SHAPE)})[0]
    assert torch.equal(advanced["samples"], first)


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_with_many_steps_it_agrees_with_euler(solver: Solver, kind: str) -> None:
    """All of them solve one equation, which ComfyUI's euler solves as well."""
    model = tiny_model(kind)
    reference = sampled(model, comfy.samplers.sampler_object("euler"), 60)
    found = sampled(model, ReversibleSampler(solver), 60)
    assert float((found - reference).norm() / reference.norm()) < 0.1


def test_one_step_is_eulers() -> None:
    model = tiny_model()
    for solver in (BDIA(), OBELM()):
        found = sampled(model, ReversibleSampler(solver, "float32"), 1)
        assert torch.allclose(found, sampled(model, comfy.samplers.sampler_object("euler"), 1), atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_outside_the_mask_nothing_changes(solver: Solver) -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    model = tiny_model()
    found = sampled(model, ReversibleSampler(solver), 8, {"samples": image, "noise_mask": mask})
    core = sampled(model, comfy.samplers.sampler_object("euler"), 8, {"samples": image, "noise_mask": mask})
    assert torch.allclose(found[..., 4:], image[..., 4:], atol=1e-4)
    assert torch.allclose(core[..., 4:], image[..., 4:], atol=1e-4)
    assert not torch.allclose(found[..., :4], image[..., :4], atol=0.1)


def test_a_schedule_that_starts_late_keeps_more_of_the_image() -> None:
    model, image = tiny_model(), torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 20)
    changes = []
    for part in (sigmas[-5:], sigmas):
        with torch.inference_mode():
            found = SamplerCustom.execute(
                model, True, 5, 2.0, conditioning(1), conditioning(2), ReversibleSampler(EDICT()), part, {"samples": image}
            )[0]["samples"]
        changes.append(float((found - image).norm()))
    assert changes[0] < changes[1]


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_gradients_agree_with_central_differences(solver: Solver, kind: str, masked: bool) -> None:
    assert relative_error(*directional(analytic_run(solver, kind, masked=masked), noise(), step=1e-6)) <= 1e-5


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_with_and_without_gradient_the_latent_is_the_same(solver: Solver) -> None:
    run = analytic_run(solver)
    with_gradient = run(noise().requires_grad_())
    assert with_gradient.requires_grad
    assert torch.equal(with_gradient.detach(), run(noise()))
    assert torch.equal(with_gradient.detach(), run.plain(noise()))


def test_a_choice_of_calls_is_kept_to() -> None:
    run = analytic_run(EDICT(), schedule=JacobianSchedule("last", 100))
    leaf = noise().requires_grad_()
    (exact,) = torch.autograd.grad(analytic_run(EDICT())(leaf).sum(), leaf)
    (covered,) = torch.autograd.grad(run(leaf).sum(), leaf)
    assert torch.equal(covered, exact)
    (cheap,) = torch.autograd.grad(analytic_run(EDICT(), schedule=JacobianSchedule("last", 2))(leaf).sum(), leaf)
    assert not torch.allclose(cheap, exact)
    assert torch.isfinite(cheap).all()


def count_saved(steps: int, sampler: comfy.samplers.Sampler | None) -> int:
    """Bytes that the graph of a run saves for backward."""
    run = analytic_run(EDICT(), steps=steps)
    run.sampler = sampler or run.sampler
    leaf = noise().requires_grad_()
    run(leaf)

    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(leaf)
    return sum(saved.values())


def test_what_is_kept_for_backward_does_not_grow_with_the_steps() -> None:
    few, many = count_saved(10, None), count_saved(50, None)
    assert abs(many - few) <= 0.01 * few
    euler = comfy.samplers.sampler_object("euler")
    assert count_saved(50, euler) > 2 * count_saved(10, euler)  # the count sees what is kept


@pytest.mark.parametrize("solver", [EDICT(), BDIA()], ids=str)
def test_sgool_optimizes_through_it(solver: Solver) -> None:
    model, red = tiny_model(), Red()
    outer = SGOOLSampler(ReversibleSampler(solver), red, tiny_vae(), Preset(Settings(iterations=3)))
    found = sampled(model, outer, 4, cfg=1.5)
    assert torch.isfinite(found).all()
    assert outer.outcomes.last is not None
    history = outer.outcomes.last.history
    losses = [row.loss for row in history.rows]
    assert all(last < first for first, last in zip(losses[0], losses[-1], strict=True))
    assert history.rows[-1].cost.model_calls is not None


@pytest.mark.parametrize("at", [3, 20], ids=["forwards", "backwards"])
def test_cancel_works_in_both_directions(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = analytic_run(EDICT(), before_call=lambda: comfy.model_management.interrupt_current_processing(run.model.calls >= at))
    leaf = noise().requires_grad_()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        torch.autograd.grad(run(leaf).sum(), leaf)
    comfy.model_management.interrupt_current_processing(False)
    assert at <= run.model.calls <= at + 1
    assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_what_cannot_work_is_said_before_the_model_is_called(solver: Solver) -> None:
    def refusal(sigmas: list[float] | None = None, start: Tensor | None = None, pair: Tensor | None = None) -> str:
        given = {} if sigmas is None else {"sigmas": torch.tensor(sigmas, dtype=torch.float64)}
        run = analytic_run(solver, pair=pair, **given)
        with pytest.raises(ValueError, match=r"\w") as caught:
            run.plain(noise() if start is None else start)
        assert run.model.calls == 0
        return str(caught.value)

    assert "same sigma twice" in refusal([3.0, 1.0, 1.0, 0.0])
    assert "same sigma twice" in refusal([3.0, 1.0, 0.0, 0.0])
    assert "rises" in refusal([1.0, 2.0, 0.0])
    assert "negative or not finite" in refusal([float("inf"), 2.0, 0.0])
    assert "not finite" in refusal(start=noise() * float("nan"))
    assert "inverted pair" in refusal(pair=torch.zeros(3, 2, 3, 4, 4))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown precision 'float16'"):
        ReversibleSampler(EDICT(), "float16")


def test_the_published_presets_judge_both_latents_of_a_coupled_pair() -> None:
    model = tiny_model()
    preset = PRESETS["DOODL"].with_iterations(2)
    coupled, single = (SGOOLSampler(ReversibleSampler(solver), Red(), tiny_vae(), preset) for solver in (EDICT(), BDIA()))
    for sampler in (coupled, single):
        assert torch.isfinite(sampled(model, sampler, 3, cfg=1.5)).all()
    assert coupled.objective.calls == 2 * single.objective.calls
    of_single, of_coupled = single.outcomes.last, coupled.outcomes.last
    assert of_single is not None
    assert of_coupled is not None
    assert any("judged alone" in message for message in of_single.messages)
    assert not any("judged alone" in message for message in of_coupled.messages)


@pytest.mark.parametrize("held_out", [None, Red()], ids=["alone", "held out"])
@pytest.mark.parametrize("settings", [{}, {"best_of": 3}, {"returned": "rescored"}], ids=str)
def test_the_bar_reckons_what_is_done_of_a_coupled_pair(
    settings: dict[str, Any], held_out: Objective | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent, totals = list[float](), list[float]()

    class Counted(Position):
        def __init__(self, total: float, *rest: Any) -> None:
            super().__init__(total, *rest)
            totals.append(total)

        def add(self, units: float) -> None:
            spent.append(units)
            super().add(units)

    monkeypatch.setattr(run_progress, "Position", Counted)
    doodl = PRESETS["DOODL"].with_iterations(2)
    preset = replace(doodl, settings=replace(doodl.settings, **settings), gradient_check=CHECK_NEVER)
    sampler = SGOOLSampler(ReversibleSampler(EDICT()), Red(), tiny_vae(), preset, held_out=held_out)
    assert torch.isfinite(sampled(tiny_model(), sampler, 3, cfg=1.5)).all()
    assert sum(spent) == pytest.approx(totals[-1])


def test_both_latents_have_their_gradient() -> None:
    run = analytic_run(EDICT(), both=True)
    assert run(noise()).shape == (2, 2, 3, 4, 4)
    leaf = noise().requires_grad_()
    pair = run(leaf)
    assert torch.equal(pair[:, 0].detach(), run.plain(noise()))
    of_both = [torch.autograd.grad(run(leaf)[:, index].square().sum(), leaf)[0] for index in (0, 1)]
    (together,) = torch.autograd.grad(pair.square().sum(), leaf)
    assert torch.allclose(together, of_both[0] + of_both[1])
