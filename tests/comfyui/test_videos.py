"""Videos: which frames are scored, and that all of them are one noise with one loss.

The reference is written out here: core's sampler alone, the decoder's module alone, each frame's loss, their mean; and differences of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.ldm.wan.vae
import comfy.model_patcher
import comfy.sample
import comfy.samplers
import comfy.sd
import pytest
import torch
from sgool.comfy_bridge.frame_scores import mean_over_frames
from sgool.comfy_bridge.preview import to_shown
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, Scored
from sgool.latent_optimization.frames import Frames
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from torch import Tensor, nn

from .families import building, decoders
from .families.configurations import FAMILIES
from .objectives import Red
from .tiny_models import tiny_vae

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]


@dataclass(frozen=True)
class Recording:
    """An update rule that keeps the gradients and makes short steps along them."""

    gradients: list[Tensor] = field(default_factory=list)

    def start(self, noise: Tensor) -> dict[str, Tensor]:
        return {}

    def step(self, gradient: Tensor, state: dict[str, Tensor], draw: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        self.gradients.append(gradient.clone())
        return -0.03 * gradient / gradient.square().mean().sqrt(), {}


def vae_of(module: nn.Module, channels: int, *, video: bool) -> comfy.sd.VAE:
    vae = tiny_vae(channels)
    vae.first_stage_model = module
    vae.patcher = comfy.model_patcher.CoreModelPatcher(module, load_device=vae.device, offload_device=vae.device)
    vae.latent_dim = 3 if video else 2
    vae.process_output = torch.sigmoid  # core's own clamps, which has kinks that differences stumble over
    return vae


def sample(name: str, model: Any, sampler: Any, noise: Tensor) -> Tensor:
    conds = (building.conditioning(FAMILIES[name], seed) for seed in (1, 2))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 2)
    return comfy.sample.sample_custom(model, noise, 2.0, sampler, sigmas, *conds, torch.zeros_like(noise), seed=5)


def check_gradient(
    name: str, vae: Any, noise: Tensor, frames: Frames, *, decode: Callable[[Tensor], Tensor], scored: list[int]
) -> SGOOLSampler:
    """Hold the gradient to differences of the mean over ``scored`` of ``decode(latent) (T, 3, H, W)``, and the latent to its noise."""
    rule, model, euler = Recording(), building.build(name), comfy.samplers.sampler_object("euler")
    sampler = SGOOLSampler(euler, Red(), vae, Preset(Settings(iterations=1, rule=rule), frames=frames))
    latent = sample(name, model, sampler, noise)
    outcome = sampler.outcomes.last
    assert outcome is not None
    assert torch.equal(sample(name, model, euler, outcome.noise), latent)

    def loss(start: Tensor) -> float:
        images = decode(sample(name, model, euler, start)).sigmoid()[scored]
        return float(Red()(images.double(), Context()).losses.mean())

    assert outcome.history.rows[0].loss == pytest.approx([loss(noise)], rel=1e-5)
    assert outcome.history.rows[1].loss == pytest.approx([loss(outcome.noise)], rel=1e-5)
    assert outcome.noise.norm() == pytest.approx(float(noise.norm()), rel=1e-5)
    gradient = rule.gradients[0]
    length = float(gradient.norm())
    along = (gradient / length)[0].movedim(1, 0) if noise.ndim == 4 else gradient / length
    slopes = [(loss(noise + step * along) - loss(noise - step * along)) / (2 * step) for step in (0.1, 0.03)]
    assert min(abs(slope / length - 1) for slope in slopes) < 5e-3, (slopes, length)
    return sampler


def test_the_mean_over_frames_is_the_mean_of_a_batch() -> None:
    frames = torch.rand(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    whole = Red()(frames, Context())
    (expected,) = torch.autograd.grad(whole.losses.mean(), frames)
    scored = mean_over_frames(Red(), frames, Context())
    assert scored.losses.shape == (1,)
    assert torch.allclose(scored.losses, whole.losses.mean())
    assert torch.allclose(scored.parts["red"], whole.parts["red"].mean())
    assert torch.allclose(torch.autograd.grad(2 * scored.losses.sum(), frames)[0], 2 * expected)
    with torch.no_grad():
        assert torch.equal(mean_over_frames(Red(), frames, Context()).losses, scored.losses)


class Constant:
    """An objective without a gradient, which notes where it is asked."""

    def __init__(self) -> None:
        self.asked: list[Context] = []

    def begin(self) -> None:
        pass

    def augmented(self, augmentations: Augmentations, reduce: str, region: str | None = None) -> Constant:
        return self

    def __call__(self, images: Tensor, context: Context) -> Scored:
        self.asked.append(context)
        return Scored(torch.ones(len(images)))


def test_each_frame_is_told_its_video_and_number() -> None:
    objective = Constant()
    losses = mean_over_frames(objective, torch.rand(3, 3, 8, 8).requires_grad_(), Context(4, None, 1, 2)).losses
    assert not losses.requires_grad
    assert objective.asked == [Context(4, None, 1, 2, number) for number in range(3)]


@pytest.mark.parametrize(("frames", "scored"), [(Frames("spread", 2), [1, 3]), (Frames("last"), [4])])
def test_a_video_has_one_loss_over_the_frames_that_were_named(frames: Frames, scored: list[int]) -> None:
    module = decoders.wan(comfy.ldm.wan.vae, dim=8, z_dim=16).eval().requires_grad_(False)
    building.fill(module, 3)
    with torch.inference_mode():
        sampler = check_gradient(
            "WAN21_T2V",
            vae_of(module, 16, video=True),
            building.seeded((1, 16, 3, 4, 4), 0),
            frames,
            decode=lambda latent: module.decode(latent.clone())[0].movedim(1, 0),
            scored=scored,
        )
    said = any("2 frames were scored" in message for message in sampler.outcomes.last.messages)
    assert said == (len(scored) > 1)


@pytest.mark.parametrize(("name", "decoder"), [("SVD_img2vid", "SVD (VideoDecoder)"), ("SV3D_u", "SD (AutoencoderKL)")])
def test_a_batch_of_frames_is_one_video(name: str, decoder: str) -> None:
    module = decoders.build(decoder)
    with torch.inference_mode():
        sampler = check_gradient(
            name,
            vae_of(module, 4, video=False),
            building.seeded((5, 4, 8, 8), 0),
            Frames("spread", 2),
            decode=lambda latent: module.decode(latent.clone()),
            scored=[1, 3],
        )
    assert sampler.outcomes.last.history.images == 1


def test_a_search_of_a_video_draws_all_its_frames() -> None:
    module = decoders.build("SD (AutoencoderKL)")
    noise = building.seeded((3, 4, 8, 8), 0)
    settings = Settings(iterations=0, best_of=3)
    with torch.inference_mode():
        sampler = SGOOLSampler(comfy.samplers.sampler_object("euler"), Red(), vae_of(module, 4, video=False), Preset(settings))
        sample("SVD_img2vid", building.build("SVD_img2vid"), sampler, noise)
    outcome = sampler.outcomes.last
    assert outcome.history.started_from in ([1], [2])
    assert outcome.noise.shape == noise.shape
    assert all(not torch.equal(mine, given) for mine, given in zip(outcome.noise, noise, strict=True))


def test_one_video_is_shown_by_its_frames_and_several_by_their_middles() -> None:
    one, other = torch.rand(3, 3, 2, 2), torch.rand(3, 3, 2, 2)
    assert all(torch.equal(shown, frame) for shown, frame in zip(to_shown([one]), one, strict=True))
    assert [torch.equal(shown, frames[1]) for shown, frames in zip(to_shown([one, other]), (one, other), strict=True)] == [True, True]
