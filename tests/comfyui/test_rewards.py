"""Rewards in a real ComfyUI: models of transformers, and ComfyUI's own CLIP with CLIP_VISION."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.comfyui

import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
from comfy.sd1_clip import SDTokenizer  # noqa: E402
from sgool.comfy_bridge.rewards import WholeReward, load_reward, plain_prompt, reward_from_clip_and_vision  # noqa: E402
from sgool.guidance.objective import Context  # noqa: E402
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss  # noqa: E402
from sgool.latent_optimization.autograd_mode import GradientMode  # noqa: E402
from sgool.rewards.interface import TextImageEncoder  # noqa: E402

from ..rewards.open_clip import OpenCLIP  # noqa: E402
from ..rewards.saved_blip import CYCLE_REWARD, IMAGE_REWARD, save_blip  # noqa: E402
from ..rewards.saved_models import save_clip  # noqa: E402
from .clip_pairs import inference_tensors, tiny_clip, tiny_clip_vision  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reward")
    torch.manual_seed(0)
    save_clip(path)
    return path


def rewards(folder: Path) -> dict[str, Any]:
    return {"transformers": load_reward(folder), "comfyui": reward_from_clip_and_vision(tiny_clip(), tiny_clip_vision())}


def photographs(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 40, 50, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["transformers", "comfyui"])
@pytest.mark.parametrize("loaded_in_inference_mode", [False, True])
@pytest.mark.parametrize("under_mode", [False, True])
def test_gradient_in_any_mode(folder: Path, kind: str, loaded_in_inference_mode: bool, under_mode: bool) -> None:
    with torch.inference_mode(loaded_in_inference_mode):
        reward = rewards(folder)[kind]
        if loaded_in_inference_mode and kind == "comfyui":
            inference_tensors(reward._image_patcher.model)
            inference_tensors(reward._text_patcher.model)
        text = reward.encode_text(["a red circle"])
    assert isinstance(reward, TextImageEncoder)
    assert not text.is_inference()
    images = photographs().requires_grad_()
    with torch.inference_mode(), torch.inference_mode(False):
        if under_mode:
            with torch.no_grad(), GradientMode():
                losses = (reward.encode_image(images * 1.0) @ text.T)[:, 0]
        else:
            losses = (reward.encode_image(images) @ text.T)[:, 0]
        (gradient,) = torch.autograd.grad(losses.sum(), images)
    assert torch.isfinite(gradient).all()
    step = 1e-2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ahead, behind = (reward.encode_image((images + sign * step).clamp(0, 1)) @ text.T for sign in (1, -1))
    inside = ((images + step).clamp(0, 1) - (images - step).clamp(0, 1)).detach()
    expected = (gradient * inside).sum()
    assert (ahead - behind).sum().item() == pytest.approx(expected.item(), rel=0.05, abs=2e-4)


@pytest.mark.parametrize("kind", ["transformers", "comfyui"])
def test_it_scores_inside_inference_mode(folder: Path, kind: str) -> None:
    reward = rewards(folder)[kind]
    outside = reward.encode_image(photographs())
    with torch.inference_mode():
        inside = reward.encode_image(photographs())
    torch.testing.assert_close(inside, outside)
    torch.testing.assert_close(outside.norm(dim=1), torch.ones(2))
    assert not outside.requires_grad


@pytest.mark.parametrize("kind", ["transformers", "comfyui"])
def test_the_loss_works_with_it(folder: Path, kind: str) -> None:
    with torch.inference_mode():
        loss = SaliencyCLIPLoss(rewards(folder)[kind], ["a red circle"], saliency=torch.rand(1, 9, 9), settings=LossSettings(w_salient=0.5))
    images = photographs().requires_grad_()
    context = Context(generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(loss(images, context).losses.sum(), images)
    assert gradient.abs().sum() > 0


def test_after_unloading_it_works_again(folder: Path) -> None:
    for reward in rewards(folder).values():
        before = reward.encode_image(photographs())
        with torch.inference_mode():
            comfy.model_management.unload_all_models()
        images = photographs().requires_grad_()
        after = reward.encode_image(images)
        torch.testing.assert_close(after, before)
        torch.autograd.grad(after.sum(), images)


@pytest.mark.parametrize("kind", ["transformers", "comfyui"])
@pytest.mark.parametrize("under_mode", [False, True])
def test_with_little_memory_the_same_gradient_comes_in_parts(
    folder: Path, kind: str, under_mode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = rewards(folder)[kind]
    text = reward.encode_text(["a red circle"])
    images = photographs(5).requires_grad_()
    results = []
    sizes: list[int] = []
    embed = reward._towers.embed
    monkeypatch.setattr(reward._towers, "embed", lambda values: sizes.append(len(values)) or embed(values))
    for free in (1e12, 4.1 * reward._bytes_per_image, 0.0):
        monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device, free=free: free)
        with GradientMode() if under_mode else contextlib.nullcontext():
            vectors = reward.encode_image(images)
        with torch.inference_mode():
            comfy.model_management.unload_all_models()
        results.append((vectors.detach(), torch.autograd.grad((vectors @ text.T).sum(), images)[0]))
    assert sorted(sizes) == sorted([5, *[2, 2, 1] * 2, *[1] * 10])  # the parts once forward and once in backward
    for vectors, gradient in results[1:]:
        torch.testing.assert_close(vectors, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


def test_vectors_are_comfyuis_own() -> None:
    clip, vision = tiny_clip(), tiny_clip_vision()
    reward = reward_from_clip_and_vision(clip, vision)
    prompts = ["a red circle", "a photograph of a cat (sleeping)"]
    theirs = torch.cat([clip.encode_from_tokens(clip.tokenize(prompt, disable_weights=True), return_pooled=True)[1] for prompt in prompts])
    torch.testing.assert_close(reward.encode_text(prompts), torch.nn.functional.normalize(theirs, dim=-1))
    for size in ((32, 32), (48, 32), (40, 70), (50, 33)):
        image = torch.rand(2, *size, 3)
        theirs = torch.nn.functional.normalize(vision.encode_image(image)["image_embeds"], dim=-1)
        ours = reward.encode_image(image.movedim(-1, 1))
        assert torch.cosine_similarity(ours, theirs).min() > 1 - 1e-5
    square = (torch.rand(1, 32, 32, 3) * 255).round() / 255
    theirs = torch.nn.functional.normalize(vision.encode_image(square)["image_embeds"], dim=-1)
    torch.testing.assert_close(reward.encode_image(square.movedim(-1, 1)), theirs, atol=1e-5, rtol=0)
    images = square.movedim(-1, 1).clone().requires_grad_()
    torch.testing.assert_close(reward.encode_image(images).detach(), theirs, atol=1e-5, rtol=0)


def test_asking_leaves_the_clip_as_it_was() -> None:
    clip = tiny_clip()
    tokens = clip.tokenize("a cat")
    before = clip.encode_from_tokens(tokens)
    reward_from_clip_and_vision(clip, tiny_clip_vision()).encode_text(["a dog"])
    torch.testing.assert_close(clip.encode_from_tokens(tokens), before)
    assert clip.cond_stage_model.clip_g.execution_device is not None  # core's own encoding leaves it set; ours must not
    reward_from_clip_and_vision(clip, tiny_clip_vision()).encode_text(["a dog"])
    assert clip.cond_stage_model.clip_g.execution_device is None


def test_words_left_out_are_named(caplog: pytest.LogCaptureFixture) -> None:
    reward = reward_from_clip_and_vision(tiny_clip(), tiny_clip_vision())
    with caplog.at_level(logging.WARNING):
        reward.encode_text(["red " * 75 + "square"])
    assert any("left out: square" in message for message in caplog.messages)


def _without(clip: Any, how: str) -> Any:
    weight = clip.cond_stage_model.clip_g.transformer.text_projection.weight
    weight.data = torch.eye(len(weight)) if how == "identity" else torch.zeros_like(weight)
    return clip


@pytest.mark.parametrize(
    ("clip", "vision", "words"),
    [
        (lambda: tiny_clip("sd1"), tiny_clip_vision, r"\(clip_l\) has no text projection"),
        (lambda: _without(tiny_clip(), "identity"), tiny_clip_vision, "has no text projection"),
        (lambda: _without(tiny_clip("refiner"), "zeros"), tiny_clip_vision, "has no text projection"),
        (lambda: tiny_clip(width=48), tiny_clip_vision, r"clip_g: 48; CLIP_VISION: 32"),
    ],
)
def test_towers_that_do_not_belong_together_are_refused(clip: Any, vision: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reward_from_clip_and_vision(clip(), vision())


def test_a_vision_model_without_projection_is_refused() -> None:
    vision = tiny_clip_vision()
    del vision.model.visual_projection
    vision.model.__dict__["visual_projection"] = lambda features: features  # what core puts there for SigLIP
    with pytest.raises(ValueError, match="no projection into a space"):
        reward_from_clip_and_vision(tiny_clip(), vision)


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [
        ("a (red:1.3) circle", "a red circle"),
        ("((masterpiece)), a cat", "masterpiece, a cat"),
        (r"a cat \(sleeping\)", "a cat (sleeping)"),
        ("a cat, embedding:style on a mat", "a cat, on a mat"),
        ("a cat", "a cat"),
    ],
)
def test_plain_prompt(prompt: str, plain: str) -> None:
    assert plain_prompt(prompt) == plain


def test_hps_reads_prompts_with_comfyuis_own_tokenizer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = OpenCLIP(words=49408).eval()
    torch.save(original.state_dict(), tmp_path / "HPS_v2.1_compressed.pt")
    with torch.inference_mode():
        reward = load_reward(tmp_path / "HPS_v2.1_compressed.pt")
    assert reward.name == "HPS_v2.1_compressed"
    for prompt in ("A red circle, left of it two cats!", "naïve  café"):
        tokens = torch.tensor([[token for token, _ in SDTokenizer(pad_to_max_length=False).tokenize_with_weights(prompt)[0]]])
        with torch.no_grad():
            expected = torch.nn.functional.normalize(original.text(tokens, end=49407), dim=-1)
        torch.testing.assert_close(reward.encode_text([prompt]), expected, atol=1e-5, rtol=1e-5)
    images = photographs().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(images, ["a cat"]).sum(), images)
    assert gradient.abs().amax((1, 2, 3)).min() > 0


class Joint(torch.nn.Module):
    """A network that sees image and prompt together, as those with cross attention do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.2, 0.5, 0.3]), requires_grad=False)

    def forward(self, images: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return torch.tanh((images.mean((2, 3)) * self.weight).sum(1) * lengths)


class JointReward:
    name, image_size = "joint", 16

    def __init__(self) -> None:
        self.model = Joint()

    def __call__(self, images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        return self.model(images, images.new_tensor([float(len(prompt)) for prompt in prompts]))


@pytest.mark.parametrize("loaded_in_inference_mode", [False, True])
def test_a_reward_without_vectors_has_its_gradient_in_any_mode(loaded_in_inference_mode: bool) -> None:
    reward, images = JointReward(), photographs().requires_grad_()
    expected = reward(images, ["a", "four"])
    (slope,) = torch.autograd.grad(expected.sum(), images)
    device = comfy.model_management.get_torch_device()
    managed = WholeReward(reward, comfy.model_patcher.ModelPatcher(reward.model, load_device=device, offload_device=device), 0.0)
    with torch.inference_mode(loaded_in_inference_mode):
        comfy.model_management.unload_all_models()
        if loaded_in_inference_mode:
            inference_tensors(reward.model)
        torch.testing.assert_close(managed(images.detach(), ["a", "four"]), expected.detach())
    found = managed(images, ["a", "four"])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), images)[0], slope)
    assert (managed.name, managed.image_size) == ("joint", 16)


@pytest.mark.parametrize("head", [IMAGE_REWARD, CYCLE_REWARD])
def test_a_published_file_becomes_a_reward_of_its_kind(tmp_path: Path, head: tuple[int, ...]) -> None:
    file = save_blip(tmp_path, head)
    with torch.inference_mode():
        reward = load_reward(file, torch.float16 if head == CYCLE_REWARD else torch.float32)
        alone = reward(photographs(), ["a red circle", "cat"])
    assert isinstance(reward, WholeReward)
    assert (reward.kind, reward.reads_prompts) == ("ImageReward" if head == IMAGE_REWARD else "CycleReward", True)
    comfy.model_management.unload_all_models()
    images = photographs().requires_grad_()
    with torch.no_grad(), GradientMode():
        found = reward(images * 1.0, ["a red circle", "cat"])
    (gradient,) = torch.autograd.grad(found.sum(), images)
    torch.testing.assert_close(found.detach(), alone, atol=2e-3, rtol=0)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().amax((1, 2, 3)).min() > 0
