"""From an image to its noise and back, through the nodes."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import RandomNoise, SamplerCustomAdvanced
from sgool.comfy_bridge.inversion import PAIR
from sgool.comfy_bridge.noise_objects import GivenNoise
from sgool.comfy_bridge.sgool_sampler import SGOOLSampler
from sgool.latent_optimization.presets import Preset
from sgool.latent_optimization.settings import Settings
from sgool.nodes.reversible import InvertImage, NoiseFromLatent, ReversibleSamplerNode
from torch import Tensor

from .objectives import Red
from .tiny_models import MODEL_TYPES, conditioning, tiny_model, tiny_vae

pytestmark = pytest.mark.comfyui
SOLVERS = ["EDICT", "BDIA", "O-BELM", "McCallum-Foster"]
SHAPE = (2, 4, 8, 8)


def gentle_model(kind: str = "eps") -> comfy.model_patcher.ModelPatcher:
    """A tiny model whose answer moves little with its input, as a trained one's does; inverting a random network runs away."""
    model = tiny_model(kind)
    model.model.diffusion_model.out[-1].weight.data.mul_(0.05)
    return model


def image(seed: int = 4) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * 0.5


def inverted(model: Any, solver: str = "EDICT", precision: str = "float64", **changes: Any) -> tuple[Any, ...]:
    sampler = ReversibleSamplerNode.execute(solver, 0.93, changes.pop("gamma", 1.0), precision)[0]
    settings = {"steps": 10, "cfg": 1.0, "scheduler": "normal", "denoise": 1.0, "latent": {"samples": image()}, "sampler": sampler}
    with torch.inference_mode():
        return InvertImage.execute(model=model, positive=conditioning(1), negative=conditioning(2), **{**settings, **changes}).args


def sampled(model: Any, noise: Any, sampler: Any, sigmas: Tensor, latent: Any, *, cfg: float = 1.0) -> Tensor:
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(1), conditioning(2))
    guider.set_cfg(cfg)
    with torch.inference_mode():
        given = NoiseFromLatent.execute(noise, 3)[0]
        return SamplerCustomAdvanced.execute(given, guider, sampler, sigmas, latent)[0]["samples"]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", list(MODEL_TYPES))
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_image_comes_back(solver: str, kind: str) -> None:
    model = gentle_model(kind)
    noise, sampler, sigmas, latent, report = inverted(model, solver)
    assert noise["samples"].shape == SHAPE
    assert relative(sampled(model, noise, sampler, sigmas, latent), image()) < 1e-5
    assert "Image 2: standard deviation" in report


@pytest.mark.parametrize("solver", ["EDICT", "BDIA"])
def test_at_fifty_steps_in_float32(solver: str) -> None:
    model = gentle_model()
    noise, sampler, sigmas, latent, _ = inverted(model, solver, "float32", steps=50)
    assert relative(sampled(model, noise, sampler, sigmas, latent), image()) <= 1e-5


def test_with_guidance_and_a_late_start() -> None:
    model = gentle_model()
    noise, sampler, sigmas, latent, _ = inverted(model, cfg=2.0, denoise=0.5)
    assert float(sigmas[0]) < 5
    assert relative(sampled(model, noise, sampler, sigmas, latent, cfg=2.0), image()) < 1e-5


def test_the_pair_is_what_makes_it_exact() -> None:
    model = gentle_model()
    noise, sampler, sigmas, latent, _ = inverted(model)
    plain = ReversibleSamplerNode.execute("EDICT", 0.93, 1.0, "float64")[0]
    again = ReversibleSamplerNode.execute("EDICT", 0.93, 1.0, "float64", noise)[0]
    assert relative(sampled(model, noise, plain, sigmas, latent), image()) > 1e-4
    assert torch.equal(sampled(model, noise, again, sigmas, latent), sampled(model, noise, sampler, sigmas, latent))


def test_a_image_is_encoded() -> None:
    model, vae = gentle_model(), tiny_vae()
    image = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    noise, sampler, sigmas, latent, _ = inverted(model, latent=None, image=image, vae=vae, steps=4)
    assert relative(sampled(model, noise, sampler, sigmas, latent), latent["samples"]) < 1e-5


def test_a_size_that_the_vae_cannot_take_is_said() -> None:
    model, vae = gentle_model(), tiny_vae()
    factor = vae.spacial_compression_encode()
    high, wide = 2 * factor, 3 * factor
    whole = torch.rand(1, high, wide, 3, generator=torch.Generator().manual_seed(1))
    assert "pixels" not in inverted(model, latent=None, image=whole, vae=vae, steps=2)[4]
    *_, latent, report = inverted(model, latent=None, image=torch.rand(1, high + 1, wide, 3), vae=vae, steps=2)
    assert f"The VAE cannot take {wide} x {high + 1} pixels: the middle {wide} x {high} were encoded." in report
    assert latent["samples"].shape[-2:] == (2, 3)
    with pytest.raises(ValueError, match="fewer than this VAE can encode"):
        inverted(model, latent=None, image=torch.rand(1, factor - 1, wide, 3), vae=vae, steps=2)


def test_an_inverted_image_is_optimized_from_where_it_is() -> None:
    model, red = gentle_model(), Red()
    noise, sampler, sigmas, latent, _ = inverted(model, steps=4)
    outer = SGOOLSampler(sampler, red, tiny_vae(), Preset(Settings(iterations=3)))
    changed = sampled(model, noise, outer, sigmas, latent)
    assert outer.outcomes.last is not None
    losses = [row.loss for row in outer.outcomes.last.history.rows]
    assert all(after < before for before, after in zip(losses[0], losses[-1], strict=True))
    assert relative(changed, image()) > 1e-2
    still = SGOOLSampler(sampler, red, tiny_vae(), Preset(Settings(iterations=0)))
    assert relative(sampled(model, noise, still, sigmas, latent), image()) < 1e-5


def test_with_a_mask_only_the_masked_part_is_edited() -> None:
    model = gentle_model()
    noise, sampler, sigmas, latent, _ = inverted(model, steps=4)
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    outer = SGOOLSampler(sampler, Red(), tiny_vae(), Preset(Settings(iterations=2)))
    changed = sampled(model, noise, outer, sigmas, {**latent, "noise_mask": mask})
    assert torch.allclose(changed[..., 4:], image()[..., 4:], atol=1e-4)
    assert not torch.allclose(changed[..., :4], image()[..., :4], atol=1e-2)


def test_settings_that_invert_badly_warn_with_the_error_to_expect() -> None:
    _, _, _, _, report = inverted(gentle_model(), "BDIA", "float32", gamma=0.7, steps=30)
    assert "run backwards badly" in report
    assert "off by about" in report
    _, _, _, _, report = inverted(gentle_model(), "BDIA", "float64", gamma=0.7, steps=10)
    assert "badly" not in report


def counting(model: Any) -> list[int]:
    calls = [0]
    network = model.model.diffusion_model
    forward = network.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return forward(*args, **kwargs)

    network.forward = counted
    return calls


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": comfy.samplers.sampler_object("euler")}, "euler cannot be run backwards: its steps do not have an exact inverse"),
        ({"sampler": comfy.samplers.sampler_object("euler_ancestral")}, "euler_ancestral cannot .*fresh noise"),
        ({"sampler": comfy.samplers.sampler_object("dpmpp_2m_sde")}, "dpmpp_2m_sde cannot .*fresh noise"),
        ({"sampler": comfy.samplers.ksampler("euler", {"s_churn": 5.0})}, "euler cannot .*fresh noise"),
        ({"steps": 1200, "scheduler": "simple"}, "same sigma twice"),
        ({"latent": {"samples": image() * float("inf")}}, "not finite"),
        ({"latent": None}, "either an image"),
        ({"latent": None, "image": torch.zeros(1, 16, 16, 3)}, "connect the VAE"),
    ],
)
def test_what_cannot_be_inverted_is_refused_before_the_model_is_called(changes: dict[str, Any], message: str) -> None:
    model = gentle_model()
    calls = counting(model)
    with pytest.raises(ValueError, match=message):
        inverted(model, **changes)
    assert calls == [0]


def test_an_optimizing_sampler_is_refused() -> None:
    sampler = ReversibleSamplerNode.execute("EDICT", 0.93, 1.0, "float64")[0]
    with pytest.raises(ValueError, match="the reversible sampler that it wraps"):
        inverted(gentle_model(), sampler=SGOOLSampler(sampler, None, None, Preset(Settings(iterations=0))))


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="Use the latent that the noise was made for"):
        GivenNoise(torch.zeros(1, 4, 8, 8)).generate_noise({"samples": torch.zeros(1, 4, 9, 8)})
    with pytest.raises(ValueError, match="no coupled pair"):
        ReversibleSamplerNode.execute("EDICT", 0.93, 1.0, "float64", {"samples": torch.zeros(SHAPE)})
    assert GivenNoise(torch.ones(1, 4, 8, 8)).generate_noise({"samples": torch.zeros(3, 4, 8, 8)}).shape == (3, 4, 8, 8)
    assert PAIR == "sgool_pair"


def test_given_noise_leaves_the_global_generator_as_a_seed_does() -> None:
    """Models that draw while they run, such as those of Token Merging, make the same image of the same noise then."""
    latent = {"samples": torch.zeros(SHAPE)}
    RandomNoise.execute(7)[0].generate_noise(latent)
    expected = torch.rand(3)
    torch.rand(5)
    NoiseFromLatent.execute({"samples": torch.ones(SHAPE)}, 7)[0].generate_noise(latent)
    assert torch.equal(torch.rand(3), expected)


def test_a_gray_image_is_inverted_as_the_same_in_color() -> None:
    gray = torch.rand(1, 16, 16, 1, generator=torch.Generator().manual_seed(0))
    model, vae = gentle_model(), tiny_vae()
    found, expected = (inverted(model, latent=None, image=each, vae=vae, steps=2)[0] for each in (gray, gray.expand(-1, -1, -1, 3)))
    assert torch.equal(found["samples"], expected["samples"])
    with pytest.raises(ValueError, match="The IMAGE batch is empty"):
        inverted(model, latent=None, image=gray[:0], vae=vae)
