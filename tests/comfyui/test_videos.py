"""Videos: which frames are scored, and that all of them are one noise with one loss.

The reference is written out here: core's sampler alone, the decoder's module alone, each frame's loss, their mean; and differences of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.ldm.wan.vae
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from sgool.comfy_bridge import ksampler
from sgool.comfy_bridge.frame_scores import mean_over_frames
from sgool.comfy_bridge.preview import to_shown
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.guidance.augmentations import Augmentations
from sgool.guidance.objective import Context, Scored
from sgool.latent_optimization.frames import Frames
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from sgool.nodes.sampling import SGOOLReportNode
from torch import Tensor

from .families import building, decoders
from .families.whole_runs import Colors, sample, vae_of
from .objectives import Red

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


def test_of_video_and_sound_the_video_is_optimized() -> None:
    module, euler, rule = decoders.build("LTXV"), comfy.samplers.sampler_object("euler"), Recording()
    with torch.inference_mode():
        model = building.build("LTXAV")
        start = building.whole_noise("LTXAV", model)
        vae = vae_of(module, 128, video=True)
        sampler = SGOOLSampler(euler, Red(), vae, Preset(Settings(iterations=1, rule=rule), frames=Frames("last")))
        latent = sample("LTXAV", model, sampler, start)
        best = SGOOLReportNode.execute(sampler, {"samples": latent}).result[0]["samples"]
        assert [part.shape for part in best.unbind()] == [part.shape for part in start.unbind()]
        assert not torch.equal(best.unbind()[0], start.unbind()[0])
        assert torch.equal(best.unbind()[1], start.unbind()[1])
        plain = sample("LTXAV", model, euler, best)
        assert all(torch.allclose(mine, again, atol=1e-4) for mine, again in zip(latent.unbind(), plain.unbind(), strict=True))

        def loss(video: Tensor) -> float:
            made = sample("LTXAV", model, euler, NestedTensor([video, start.unbind()[1]]))
            image = module.decode(made.unbind()[0])[:, :, -1].sigmoid()
            return float(Red()(image.double(), Context()).losses.mean())

        (gradient,) = rule.gradients
        length, video = float(gradient.norm()), start.unbind()[0]
        slopes = [(loss(video + step * gradient / length) - loss(video - step * gradient / length)) / (2 * step) for step in (0.1, 0.03)]
    assert min(abs(slope / length - 1) for slope in slopes) < 5e-3, (slopes, length)
    assert gradient.shape == video.shape


def test_ksampler_with_video_and_sound() -> None:
    with torch.inference_mode():
        model = building.build("MiniMaxH3")
        zeros = building.whole_noise("MiniMaxH3", model) * 0
        done = ksampler.sample(
            model=model,
            seed=3,
            steps=2,
            cfg=2.0,
            sampler_name="euler",
            scheduler="simple",
            positive=building.conditioning(building.FAMILIES["MiniMaxH3"], 1),
            negative=building.conditioning(building.FAMILIES["MiniMaxH3"], 2),
            latent={"samples": zeros},
            denoise=1.0,
            objective=Red(),
            vae=vae_of(Colors(24), 24, video=True),
            preset=Preset(Settings(iterations=1)),
        )
        given = comfy.sample.prepare_noise(zeros, 3)
    found = done.noise["samples"].unbind()
    assert [part.shape for part in done.latent["samples"].unbind()] == [part.shape for part in zeros.unbind()]
    assert not torch.equal(found[0], given.unbind()[0])
    assert torch.equal(found[1], given.unbind()[1])


def test_a_vae_for_other_videos_is_refused_by_a_model_of_video_and_sound() -> None:
    sampler = SGOOLSampler(
        comfy.samplers.sampler_object("euler"), Red(), vae_of(Colors(16), 16, video=True), Preset(Settings(iterations=1))
    )
    with torch.inference_mode():
        model = building.build("MiniMaxH3")
        with pytest.raises(ValueError, match="This VAE is for latents of 16 channels, the model's have 24"):
            sample("MiniMaxH3", model, sampler, building.whole_noise("MiniMaxH3", model))


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
