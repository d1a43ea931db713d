"""The nodes of the guidance and evaluation families, in a real ComfyUI."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.comfyui

import folder_paths  # noqa: E402
from sgool.comfy_bridge.folders import REWARDS, register_rewards, reward_paths  # noqa: E402
from sgool.comfy_bridge.rewards import EncoderReward  # noqa: E402
from sgool.guidance.objective import Context, WeightedSum  # noqa: E402
from sgool.guidance.saliency_clip_loss import SaliencyCLIPLoss  # noqa: E402
from sgool.nodes import evaluation, guidance, judges  # noqa: E402

from ..rewards.saved_models import save_clip  # noqa: E402
from .clip_pairs import tiny_clip, tiny_clip_vision  # noqa: E402

NODES = [*guidance.NODES, *judges.NODES, *evaluation.NODES]


def run(node: Any, **inputs: Any) -> Any:
    return node.execute(**inputs).result


@pytest.fixture
def reward_folder(tmp_path: Path) -> Any:
    """A reward under models/rewards/family/tiny."""
    folder = Path(folder_paths.models_dir) / "rewards" / "family" / "tiny"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_clip(folder)
    yield folder
    shutil.rmtree(folder.parent.parent)


@pytest.fixture
def reward(reward_folder: Path) -> EncoderReward:
    return run(guidance.LoadReward, reward_name="family/tiny")[0]


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_says_what_it_is(node: Any) -> None:
    schema = node.define_schema()
    assert schema.node_id.startswith("SGOOL_")
    assert schema.category.startswith("SGOOL/")
    assert len(schema.description) > 40
    assert len(schema.search_aliases) > 3
    assert all(each.tooltip for each in schema.inputs)
    assert len({each.id for each in schema.inputs}) == len(schema.inputs)
    page = Path(guidance.__file__).parent.parent / "web" / "docs" / f"{schema.node_id}.md"
    text = page.read_text(encoding="utf-8")
    assert all(f"`{each.id}`" in text for each in schema.inputs), "the help page leaves out an input"
    assert node.GET_SCHEMA() is not None


def test_rewards_are_found_where_users_put_them(reward_folder: Path, tmp_path: Path) -> None:
    assert reward_paths() == {"family/tiny": str(reward_folder)}
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "mine").mkdir(parents=True)
    (elsewhere / "mine" / "config.json").write_text("{}")
    before = folder_paths.folder_names_and_paths[REWARDS]
    try:
        folder_paths.folder_names_and_paths[REWARDS] = ([str(elsewhere)], {".own"})  # as an extra_model_paths.yaml may have it
        register_rewards()
        assert list(reward_paths()) == ["family/tiny", "mine"]
        assert folder_paths.folder_names_and_paths[REWARDS][1] >= {".own"}
    finally:
        folder_paths.folder_names_and_paths[REWARDS] = before
    options = guidance.LoadReward.define_schema().inputs[0]
    assert options.options == ["family/tiny", "none"]
    assert options.default == "family/tiny"


def test_nothing_is_downloaded_unless_a_name_is_given(reward_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(guidance, "download_reward", lambda name, dtype: asked.append(name))
    run(guidance.LoadReward, reward_name="family/tiny", hub_name="  ")
    assert not asked
    run(guidance.LoadReward, reward_name="none", hub_name=" owner/model ")
    assert asked == ["owner/model"]


def test_a_choice_that_cannot_work_is_refused_before_the_run(reward_folder: Path) -> None:
    check = guidance.LoadReward.validate_inputs
    assert check(reward_name="family/tiny", hub_name="") is True
    assert check(reward_name="none", hub_name="owner/model") is True
    assert "No reward is chosen" in check(reward_name="none", hub_name="")
    assert "There is no 'gone' in models/rewards" in check(reward_name="gone", hub_name="")


def test_the_loss_node_loads_a_reward_where_none_is_connected(reward: EncoderReward) -> None:
    images = torch.rand(2, 3, 40, 48)
    connected = run(guidance.SaliencyCLIPLossNode, reward=reward, prompt="cat", augmentation="whole")[0]
    loaded = run(guidance.SaliencyCLIPLossNode, reward_name="family/tiny", prompt="cat", augmentation="whole")[0]
    torch.testing.assert_close(loaded(images, Context()).losses, connected(images, Context()).losses)
    again = run(guidance.SaliencyCLIPLossNode, reward_name="family/tiny", prompt="dog")[0]
    assert again.reward is loaded.reward  # another prompt reads no weights


def test_a_loss_without_a_reward_says_which_file_to_put_where(reward_folder: Path) -> None:
    check = guidance.SaliencyCLIPLossNode.validate_inputs
    assert check(reward=None, reward_name="gone") is True  # connected: not known before the run
    assert check(reward_name="family/tiny") is True
    said = check(reward_name="none")
    assert "Put HPS_v2.1_compressed.pt from https://huggingface.co/xswu/HPSv2" in said
    assert f"into {reward_folder.parent.parent}," in said


def test_reward_of_comfyuis_models() -> None:
    (reward,) = run(guidance.RewardFromCLIP, clip=tiny_clip(), clip_vision=tiny_clip_vision())
    assert isinstance(reward, EncoderReward)


def test_the_packs_own_saliency_finds_what_a_salient_prompt_speaks_of(reward: EncoderReward) -> None:
    (objective,) = run(guidance.SaliencyCLIPLossNode, reward=reward, prompt="a (red:1.2)\ncircle", salient_prompt="cat")
    assert isinstance(objective, SaliencyCLIPLoss)
    assert objective.prompts == ["a red circle"]
    images = torch.rand(2, 3, 40, 48).requires_grad_()
    with torch.inference_mode(), torch.inference_mode(False):
        scored = objective(images, Context(generator=torch.Generator().manual_seed(0)))
        (gradient,) = torch.autograd.grad(scored.losses.sum(), images)
    assert "salient" in scored.parts
    assert gradient.abs().sum() > 0


def test_the_loss_node_takes_a_mask_of_any_size(reward: EncoderReward) -> None:
    (objective,) = run(
        guidance.SaliencyCLIPLossNode,
        reward=reward,
        prompt="cat",
        w_global=0.0,
        w_salient=1.0,
        mask=torch.ones(1, 7, 9),
        region="soft crop",
    )
    scored = objective(torch.rand(2, 3, 20, 20), Context())
    assert list(scored.parts) == ["salient"]
    torch.testing.assert_close(objective.salient_maps(torch.rand(2, 3, 20, 20), Context()), torch.ones(2, 1, 20, 20))


def test_without_a_salient_part_no_predictor_is_even_made(reward: EncoderReward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidance, "default_predictor", lambda: pytest.fail("a predictor was made"))
    (objective,) = run(guidance.SaliencyCLIPLossNode, reward=reward, prompt="cat")
    assert objective.saliency is None


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({}, False),
        ({"mask": torch.ones(1, 8, 8)}, True),
        ({"salient_prompt": "a cat"}, True),
        ({"saliency_model": lambda images: images[:, :1]}, True),
        ({"mask": torch.ones(1, 8, 8), "w_salient": 0.0}, False),
    ],
)
def test_the_salient_part_counts_where_one_is_given(reward: EncoderReward, given: dict[str, Any], counts: bool) -> None:
    (objective,) = run(guidance.SaliencyCLIPLossNode, reward=reward, prompt="cat", **given)
    assert ("salient" in objective(torch.rand(1, 3, 20, 20), Context()).parts) is counts


def test_prompts_for_each_image(reward: EncoderReward) -> None:
    options = {"prompt_per_line": True, "salient_prompt": "circle\nsquare", "negative_prompts": "a blue cat\n\nphoto\n"}
    (objective,) = run(
        guidance.SaliencyCLIPLossNode, reward=reward, prompt="a red circle\na blue square\n", w_global=1.0, w_salient=1.0, **options
    )
    assert objective.prompts == ["a red circle", "a blue square"]
    assert objective.salient_prompts == ["circle", "square"]
    assert objective.negative_prompts == ["a blue cat", "photo"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"prompt": " \n"}, "prompt is empty"),
        ({"w_global": 0.0, "w_salient": 0.0}, "All weights of the loss are zero"),
        ({"mask": torch.zeros(1, 8, 8)}, "The mask is empty"),
    ],
)
def test_the_loss_node_says_what_is_missing(reward: EncoderReward, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(guidance.SaliencyCLIPLossNode, **{"reward": reward, "prompt": "cat", "w_global": 1.0, "w_salient": 1.0, **inputs})


def test_every_widget_value_reaches_the_loss(reward: EncoderReward) -> None:
    chosen = {
        "region": "blur surroundings",
        "distance": "cosine",
        "augmentation": "cutouts",
        "augmentation_count": 7,
        "reduce": "minimum",
        "cut_power": 0.5,
        "smallest_zoom": 0.6,
        "color_jitter": 0.2,
        "flip": True,
        "detach_saliency": False,
        "saliency_every": 3,
        "w_negative": 0.25,
    }
    names = {each.id for each in guidance.SaliencyCLIPLossNode.define_schema().inputs if each.advanced}
    assert names == {*chosen, "salient_prompt", "negative_prompts", "prompt_per_line"}
    (objective,) = run(guidance.SaliencyCLIPLossNode, reward=reward, prompt="cat", w_global=0.5, w_salient=0.75, **chosen)
    settings, augmentations = objective.settings, objective.settings.augmentations
    assert (settings.w_global, settings.w_salient, settings.w_negative) == (0.5, 0.75, 0.25)
    assert (settings.region, settings.distance, settings.reduce) == ("blur surroundings", "cosine", "minimum")
    assert (settings.detach_saliency, settings.saliency_every) == (False, 3)
    assert (
        augmentations.kind,
        augmentations.count,
        augmentations.cut_power,
        augmentations.smallest_zoom,
        augmentations.color_jitter,
        augmentations.flip,
    ) == ("cutouts", 7, 0.5, 0.6, 0.2, True)


def test_defaults_of_the_widgets_are_those_of_the_loss(reward: EncoderReward) -> None:
    schema = guidance.SaliencyCLIPLossNode.define_schema()
    defaults = {each.id: each.default for each in schema.inputs if getattr(each, "default", None) is not None}
    with_widgets = run(guidance.SaliencyCLIPLossNode, reward=reward, **{**defaults, "prompt": "cat"}, mask=torch.ones(1, 8, 8))[0]
    bare = run(guidance.SaliencyCLIPLossNode, reward=reward, prompt="cat", w_global=1.0, w_salient=1.0)[0]
    library = SaliencyCLIPLoss(reward, ["cat"], saliency=torch.ones(1, 2, 2))
    assert with_widgets.settings == bare.settings == library.settings


def test_objectives_are_combined(reward: EncoderReward) -> None:
    first, second = (
        run(guidance.SaliencyCLIPLossNode, reward=reward, prompt=prompt, w_global=1.0, w_salient=0.0)[0] for prompt in ("cat", "circle")
    )
    (total,) = run(guidance.CombineObjectives, objective_1=first, weight_1=2.0, objective_3=second, weight_3=-0.5)
    assert isinstance(total, WeightedSum)
    images = torch.rand(2, 3, 20, 20)
    expected = 2 * first(images, Context()).losses - 0.5 * second(images, Context()).losses
    torch.testing.assert_close(total(images, Context()).losses, expected)
    with pytest.raises(ValueError, match="all objectives are zero"):
        run(guidance.CombineObjectives, objective_1=first, weight_1=0.0)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_clip_score_of_a_batch(reward: EncoderReward, channels: int) -> None:
    images = torch.rand(10, 30, 40, channels)
    with torch.inference_mode():
        mean, each, text = run(evaluation.RewardScore, reward=reward, images=images, prompt="a (red) circle")
        single = run(evaluation.RewardScore, reward=reward, images=images[3:4], prompt="a red circle")[0]
    assert len(each) == 10
    assert mean == pytest.approx(sum(each) / 10)
    assert single == pytest.approx(each[3], abs=1e-5)
    assert all(-1 <= score <= 1 for score in each)
    assert text.splitlines()[4].split(maxsplit=2) == ["4", f"{each[3]:.4f}", "a red circle"]
    assert "mean" in text.splitlines()[-1]


def test_clip_score_with_a_prompt_for_each(reward: EncoderReward) -> None:
    images = torch.rand(2, 30, 40, 3)
    _, each, _ = run(evaluation.RewardScore, reward=reward, images=images, prompt="cat\ncircle", prompt_per_line=True)
    assert each[1] == pytest.approx(run(evaluation.RewardScore, reward=reward, images=images[1:], prompt="circle")[0], abs=1e-5)
    with pytest.raises(ValueError, match="2 prompts for 1 image;"):
        run(evaluation.RewardScore, reward=reward, images=images[:1], prompt="cat\ncircle", prompt_per_line=True)
    with pytest.raises(ValueError, match="prompt is empty"):
        run(evaluation.RewardScore, reward=reward, images=images, prompt="")
