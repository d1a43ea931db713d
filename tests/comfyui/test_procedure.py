"""The presets that are a published procedure, through the nodes: what they replace, and that they say so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import pytest
import torch
from sgool.comfy_bridge import memory
from sgool.comfy_bridge.noise_to_latent import NoiseToLatent
from sgool.comfy_bridge.procedure import sampler_name
from sgool.comfy_bridge.reversible_samplers import ReversibleSampler, plan_for
from sgool.comfy_bridge.sgool_sampler import NO_SALIENT, too_large
from sgool.comfy_bridge.vae import decode_with_grad
from sgool.demo.weights import WEIGHTS
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, WeightedSum
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss
from sgool.harness.pack import ROOT
from sgool.harness.server import Server
from sgool.latent_optimization.presets import PRESETS, Procedure
from sgool.latent_optimization.random_streams import draw_normal, streams_for
from sgool.latent_optimization.reversible import BDIA, EDICT, OBELM
from sgool.nodes.sampling import SGOOLKSamplerNode, SGOOLSamplerNode
from sgool.nodes.settings import PROCEDURES
from torch import Tensor

import nodes

from .objectives import Red
from .tiny_models import MODEL_TYPES, conditioning, tiny_model, tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore")]
SIDE = 8


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.inference_mode():
        return tiny_model()


class Encoder:
    """Tells images apart by their mean colors and remembers how it was shown them: how many, and of which size."""

    image_size = SIDE

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []

    def encode_text(self, prompts: list[str]) -> Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(prompts), 3)

    def encode_image(self, images: Tensor) -> Tensor:
        self.shown.append(tuple(images.shape))
        return torch.nn.functional.normalize(images.mean((2, 3)) + 0.1, dim=-1)


def clip_loss(**settings: Any) -> SaliencyCLIPLoss:
    return SaliencyCLIPLoss(Encoder(), ["red"], settings=LossSettings(w_salient=0.0, **settings))


def ksampled(model: Any, *, objective: Any = None, preset: str = "DOODL", iterations: int = 1, **changes: Any) -> tuple[Any, ...]:
    arguments = {
        "model": model,
        "seed": 5,
        "steps": 3,
        "cfg": 4.0,
        "sampler_name": "dpm_2",  # core drops a step of its schedule, which must not happen to another solver's
        "scheduler": "normal",
        "positive": conditioning(1),
        "negative": conditioning(2),
        "latent_image": {"samples": torch.zeros(1, 4, 8, 8)},
        "denoise": 1.0,
        "preset": {"preset": preset, "iterations": iterations},
        "objective": objective,
        "vae": tiny_vae(),
        **changes,
    }
    return SGOOLKSamplerNode.execute(**arguments).result


def by_hand(model: Any, noise: Tensor, solver: Any, steps: int, cfg: float) -> Tensor:
    """Plain sampling by core's functions."""
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", steps)
    arguments = (ReversibleSampler(solver), sigmas, conditioning(1), conditioning(2), torch.zeros_like(noise))
    return comfy.sample.sample_custom(model, noise, cfg, *arguments, disable_pbar=True, seed=5)


@pytest.mark.parametrize("preset", ["SGOOL", "DOODL"])
def test_the_preset_is_the_procedure(preset: str, model: Any) -> None:
    objective = clip_loss(augmentations=Augmentations("whole"))
    latent, noise, _, text, *_ = ksampled(model, objective=WeightedSum([(1.0, objective), (0.5, Red())]), preset=preset)
    assert (NO_SALIENT in text) == (preset == "SGOOL")
    start = comfy.sample.prepare_noise(torch.zeros(1, 4, 8, 8), 5)
    assert not torch.equal(noise["samples"], start)
    assert torch.equal(latent["samples"], by_hand(model, noise["samples"], EDICT(0.93), 50, 7.5))
    # Each of the two latents is shown in cutouts, before and after the one iteration; 16 at once, of the encoder's size.
    assert objective.reward.shown == [(16, 3, SIDE, SIDE)] * 4
    assert objective.settings.augmentations.kind == "whole"
    assert "EDICT (mix 0.93), 50 steps, CFG 7.5, in the place of dpm_2, 3 steps, CFG 4." in text
    assert "16 random cutouts were scored and their minimum taken" in text
    assert "published with" not in text
    assert f"1 of them differentiated, 2 evaluations, {2 * 2 * 50} model calls" in text


class ByHand(comfy.samplers.Sampler):
    """The published iteration, step by step: both images' losses added up, the pair's gradients averaged, clip, momentum, perturbation,
    the initial norm. Only sampler and decoder are ours."""

    def __init__(self, vae: Any, iterations: int, seed: int) -> None:
        self.vae, self.iterations = vae, iterations
        self.seed = seed

    def losses(self, model_wrap: Any, run: NoiseToLatent, noise: Tensor) -> Tensor:
        total = torch.zeros(())
        for latent in run(noise).unbind(1):
            images = decode_with_grad(self.vae, model_wrap.inner_model.process_latent_out(latent), True)
            total = total + Red()(images, Context()).losses.sum()
        return total

    def sample(self, model_wrap: Any, sigmas: Tensor, extra_args: Any, callback: Any, noise: Tensor, *rest: Any) -> Tensor:
        run = NoiseToLatent(ReversibleSampler(EDICT(0.93)), model_wrap, sigmas, extra_args, rest[0], both=True)
        with memory.gradient_settings(model_wrap.model_patcher), torch.inference_mode(False), torch.enable_grad():
            x, velocity = noise.clone(), torch.zeros(())
            draws = streams_for(noise, self.seed)[0].perturbations
            norm = x.norm()
            for _ in range(self.iterations):
                leaf = x.clone().requires_grad_()
                (of_both,) = torch.autograd.grad(self.losses(model_wrap, run, leaf), leaf)
                pull = -0.5 * of_both / 2  # the tied pair starts from one noise: of_both is the sum of the two gradients
                self.clipped = float((pull.abs() > 1e-3).float().mean())
                velocity = 0.9 * velocity + pull.clamp(-1e-3, 1e-3)
                x = x + velocity + 1e-4 * draw_normal([draws], x)
                x = x / x.norm() * norm
        self.noise = x
        return x


def test_the_node_takes_the_published_steps(model: Any) -> None:
    """With fewer steps, to be quick, and one objective that draws nothing."""
    settings = replace(PRESETS["DOODL"].with_iterations(5), procedure=Procedure(steps=4))
    noise = ksampled(model, objective=Red(), settings=settings)[1]["samples"]
    start = comfy.sample.prepare_noise(torch.zeros(1, 4, 8, 8), 5)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 4)
    by_hand = ByHand(tiny_vae(), 5, seed=5)
    comfy.sample.sample_custom(model, start, 7.5, by_hand, sigmas, conditioning(1), conditioning(2), start * 0, seed=5)
    assert 0.01 < by_hand.clipped < 0.99  # so that the clip is part of what is tested
    moved = (by_hand.noise - start).norm()
    assert float(moved) > 0.01
    assert float((noise - by_hand.noise).norm() / moved) < 1e-3


def test_without_iterations_it_samples_plainly_by_the_procedure(model: Any) -> None:
    latent, noise, _, text, *_ = ksampled(model, iterations=0, vae=None)
    start = comfy.sample.prepare_noise(torch.zeros(1, 4, 8, 8), 5)
    assert torch.equal(noise["samples"], start)
    assert torch.equal(latent["samples"], by_hand(model, start, EDICT(0.93), 50, 7.5))
    assert text.startswith("By the preset, the image was sampled with EDICT")
    assert "cutouts" not in text


def test_settings_take_the_procedure_away_and_give_it(model: Any) -> None:
    own = replace(PRESETS["DOODL"].with_iterations(1), procedure=PROCEDURES["none"])
    assert own.procedure is None
    latent, _, _, text, *_ = ksampled(model, settings=own.with_iterations(0))
    (theirs,) = nodes.common_ksampler(
        model, 5, 3, 4.0, "dpm_2", "normal", conditioning(1), conditioning(2), {"samples": torch.zeros(1, 4, 8, 8)}
    )
    assert torch.equal(latent["samples"], theirs["samples"])
    assert "By the preset" not in text
    assert PROCEDURES["DOODL"] == PRESETS["DOODL"].procedure
    objective = clip_loss()
    text = ksampled(model, objective=objective, settings=own)[3]
    assert {shape[0] for shape in objective.reward.shown} == {5}
    assert "preset" not in text


def custom(model: Any, sampler: Any, objective: Any, *, steps: int = 2, cfg: float = 8.0, preset: str = "DOODL") -> tuple[str, Tensor]:
    """SGOOL Sampler in core's SamplerCustom; returns its messages, and the latent."""
    sgool = SGOOLSamplerNode.execute(
        sampler=sampler, preset={"preset": preset, "iterations": 1}, objective=objective, vae=tiny_vae()
    ).result[0]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", steps)
    start = comfy.sample.prepare_noise(torch.zeros(1, 4, 8, 8), 5)
    latent = comfy.sample.sample_custom(model, start, cfg, sgool, sigmas, conditioning(1), conditioning(2), start * 0, seed=5)
    return "\n".join(sgool.outcomes.last.messages), latent


def test_the_sampler_node_takes_the_cutouts_and_says_what_is_not_the_procedures(model: Any) -> None:
    objective = clip_loss()
    text, _ = custom(model, comfy.samplers.sampler_object("euler"), objective)
    assert objective.reward.shown == [(16, 3, SIDE, SIDE)] * 2
    assert "published with EDICT (mix 0.93), 50 steps, CFG 7.5; this run had euler, 2 steps, CFG 8, which other nodes set." in text
    assert "judged alone" in text
    text, _ = custom(model, ReversibleSampler(EDICT(0.97)), Red())
    assert "this run had EDICT (mix 0.97), 2 steps, CFG 8" in text
    assert "judged alone" not in text
    assert custom(model, comfy.samplers.sampler_object("euler"), clip_loss(), preset="balanced")[0] == ""


def test_with_nothing_to_replace_there_is_nothing_to_say(model: Any) -> None:
    augmentations = Augmentations("cutouts", 16, 0.3)
    text, _ = custom(model, ReversibleSampler(EDICT()), clip_loss(augmentations=augmentations, reduce="minimum"), steps=50, cfg=7.5)
    assert text == ""


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
@pytest.mark.parametrize("scheduler", list(comfy.samplers.SCHEDULER_NAMES))
def test_every_schedule_is_one_for_the_solver(kind: str, scheduler: str) -> None:
    sampling = tiny_model(kind).get_model_object("model_sampling")
    procedure = PRESETS["DOODL"].procedure
    assert procedure is not None
    sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, procedure.steps)
    assert len(plan_for(procedure.solver, sampling, sigmas).steps) == len(sigmas) - 1


def test_samplers_are_named_as_people_know_them() -> None:
    assert sampler_name(comfy.samplers.sampler_object("dpmpp_2m")) == "dpmpp_2m"
    assert sampler_name(ReversibleSampler(OBELM())) == "O-BELM"
    assert sampler_name(ReversibleSampler(BDIA())) == "BDIA"


def test_too_many_augmentations_for_the_memory_are_named() -> None:
    noise = torch.zeros(1, 4, 8, 8)
    assert "fewer augmentations" in too_large(noise, PRESETS["DOODL"])
    assert "fewer augmentations" not in too_large(noise, PRESETS["balanced"])


@pytest.mark.server
@pytest.mark.skipif(not (WEIGHTS / "unet.safetensors").is_file(), reason="the demo model's weights are not here")
def test_the_procedure_on_a_server(server: Server) -> None:
    graph = json.loads((ROOT / "workflows" / "api" / "sgool_demo.json").read_text(encoding="utf-8"))
    graph["latent"]["inputs"]["batch_size"] = 1
    graph["optimized"]["inputs"] |= {"preset": "SGOOL", "preset.iterations": 1}
    kept = ["model", "saliency_model", "prompt", "positive", "negative", "latent", "objective", "optimized", "history"]
    text = server.run({name: graph[name] for name in kept})["history"]["text"][0]
    assert "EDICT (mix 0.93), 50 steps, CFG 7.5, in the place of euler, 12 steps, CFG 3." in text
    assert "16 random cutouts" in text
    assert "200 model calls" in text
