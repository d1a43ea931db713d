"""Guidance nodes through a real server: what a user does wrong gets a sentence, and the next run is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sgool.harness.server import Server

from ..rewards.saved_models import save_clip

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def reward(server: Server) -> Path:
    """A reward in the server's models/rewards; put there while it runs, as users do."""
    folder = server.base / "models" / "rewards" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_clip(folder)
    return folder


def graph(reward_name: str = "tiny", **inputs: Any) -> dict[str, Any]:
    """A white image's CLIP score."""
    return {
        "1": {"class_type": "SGOOL_LoadReward", "inputs": {"reward_name": reward_name, "hub_name": "", "weight_dtype": "default"}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 48, "height": 40, "batch_size": 2, "color": 16777215}},
        "3": {
            "class_type": "SGOOL_RewardScore",
            "inputs": {"reward": ["1", 0], "images": ["2", 0], "prompt": "a red circle", "prompt_per_line": False, **inputs},
        },
    }


def assert_works(server: Server) -> None:
    lines = server.run(graph())["3"]["text"][0].splitlines()
    assert lines[0].split() == ["image", "reward", "prompt"]
    assert lines[1].split()[1] == lines[2].split()[1]
    assert -1 <= float(lines[1].split()[1]) <= 1


def test_a_batch_is_scored(server: Server, reward: Path) -> None:
    assert_works(server)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prompt": "  "}, "The prompt is empty"),
        ({"prompt": "cat\ncat\ncat", "prompt_per_line": True}, "3 prompts for 2 images"),
    ],
)
def test_what_does_not_fit_is_said_and_the_server_goes_on(server: Server, reward: Path, wrong: dict[str, Any], words: str) -> None:
    assert words in server.run_expecting_error(graph(**wrong))
    assert_works(server)


def test_a_reward_that_is_not_there_is_refused_before_the_run(server: Server, reward: Path) -> None:
    assert "There is no 'gone' in models/rewards" in server.run_expecting_error(graph("gone"))
    assert "No reward is chosen" in server.run_expecting_error(graph("none"))
    alone = graph()
    widgets = server.object_info("SGOOL_SaliencyCLIPLoss")["input"]["required"]
    inputs = {name: options.get("default", "a cat") for name, (_, options) in widgets.items()}
    alone["1"] = {"class_type": "SGOOL_SaliencyCLIPLoss", "inputs": inputs}
    alone["3"] = {"class_type": "SGOOL_ObjectiveScore", "inputs": {"objective": ["1", 0], "images": ["2", 0]}}
    assert "Put HPS_v2.1_compressed.pt from https" in server.run_expecting_error(alone)
    alone["1"]["inputs"]["reward_name"] = "tiny"
    assert "global" in str(server.run(alone)["3"]["text"])
    assert_works(server)


def test_a_reward_without_tokenizer_is_explained(server: Server, reward: Path) -> None:
    broken = reward.parent / "broken"
    broken.mkdir()
    save_clip(broken)
    (broken / "tokenizer.json").unlink()
    assert "has no tokenizer" in server.run_expecting_error(graph("broken"))
    assert_works(server)


@pytest.mark.parametrize("node", ["LoadReward", "RewardFromCLIP", "SaliencyCLIPLoss", "CombineObjectives", "RewardScore"])
def test_the_server_lists_the_nodes(server: Server, node: str) -> None:
    info = server.object_info(f"SGOOL_{node}")
    assert info["description"]
    assert info["category"].startswith("SGOOL/")
