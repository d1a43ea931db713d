"""A small Qwen3-VL of ComfyUI's own classes, asked about images: the logits of core's own text generation, and what is refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.comfyui

import comfy.sd  # noqa: E402
import comfy.text_encoders.qwen3vl as core  # noqa: E402
import comfy.text_encoders.qwen_image as core_25  # noqa: E402
from sgool.comfy_bridge.layout import to_image  # noqa: E402
from sgool.comfy_bridge.vlm_reward import QUESTION, VLMReward  # noqa: E402
from sgool.guidance.objective import Context, WeightedSum  # noqa: E402
from sgool.guidance.saliency_clip_loss import LossSettings, SaliencyCLIPLoss  # noqa: E402
from sgool.harness.seeded_weights import seeded_images  # noqa: E402
from sgool.nodes.judges import RewardFromVLM  # noqa: E402

from .clip_pairs import _Target, tiny_clip  # noqa: E402
from .tiny_models import fill  # noqa: E402

KIND = "qwen3vl_4b"
TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
VISION = {"hidden_size": 64, "intermediate_size": 96, "depth": 2, "deepstack_visual_indexes": [0]}


@pytest.fixture(scope="module")
def clip() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(core.QWEN3VL_VISION, KIND, VISION)
        target = _Target(core.te(model_type=KIND), core.tokenizer(KIND))
        made = comfy.sd.CLIP(target, model_options={f"{KIND}_model_config": dict(TEXT)})
    fill(made.cond_stage_model, 0)
    return made


def test_scores_are_what_core_would_generate(clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    images, prompts = seeded_images(2, 64, 96), ["a red circle", 'a {sign} that says "no"']
    with torch.inference_mode():
        (reward,) = RewardFromVLM.execute(clip).result
        found = reward(images, prompts)
    transformer = getattr(clip.cond_stage_model, KIND).transformer
    own = transformer.logits
    words = getattr(clip.tokenizer, KIND).tokenizer
    yes, no = ([words.convert_tokens_to_ids(word) for word in (w, w.title(), "Ġ" + w, "Ġ" + w.title())] for w in ("yes", "no"))
    expected, seen = [], []
    monkeypatch.setattr(transformer, "logits", lambda x: seen.append(own(x)) or seen[-1])
    for row, prompt in enumerate(prompts):
        tokens = clip.tokenize(QUESTION.format(prompt=prompt), image=to_image(images[row : row + 1]))
        with torch.inference_mode():
            clip.generate(tokens, do_sample=False, max_length=1)
        chances = seen[-1][0, -1].double().softmax(-1)
        expected.append(chances[yes].sum() / chances[[*yes, *no]].sum())
    torch.testing.assert_close(found.double(), torch.stack(expected), atol=1e-5, rtol=0)
    assert (found[0] - found[1]).abs() > 1e-4
    assert (reward(images.flip(0), prompts) - found).abs().max() > 1e-5, "the image counts"
    assert ((found > 0) & (found < 1)).all()


def test_it_counts_where_images_are_chosen_and_has_no_gradient(clip: Any, caplog: pytest.LogCaptureFixture) -> None:
    reward = VLMReward(clip)
    loss = SaliencyCLIPLoss(reward, ["a cat"], settings=LossSettings(w_salient=0))
    images = seeded_images(1, 64, 64).requires_grad_()
    with caplog.at_level(logging.WARNING):
        scored = WeightedSum([(1.0, loss), (0.5, loss)])(images, Context())
    assert not scored.losses.requires_grad
    torch.testing.assert_close(scored.losses, -1.5 * reward(images, ["a cat"]))
    said = [message for message in caplog.messages if "neither yes nor no" in message]
    assert len(said) == 1, "random weights say anything, and it is said once"


def test_other_text_encoders_are_refused_with_what_they_lack() -> None:
    with pytest.raises(ValueError, match="does not look at images"):
        VLMReward(tiny_clip("sd1"))
    small = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 1, "num_key_value_heads": 1}
    with torch.device("meta"):
        model = core_25.te()(device="meta", model_options={"qwen25_7b_model_config": small})
    holder = type("Clip", (), {"cond_stage_model": model, "tokenizer": None})()
    with pytest.raises(ValueError, match="loads qwen25_7b without its output layer"):
        VLMReward(holder)
