"""SGOOL on every model class: the returned noise gives the returned latent, and nothing hangs on what the model remembers."""

from __future__ import annotations

import pytest
import torch

from .building import build, through_guider
from .configurations import FAMILIES
from .test_families import ILL_CONDITIONED, TOLERANCE, relative
from .whole_runs import cold_gradient, whole_run

pytestmark = [pytest.mark.comfyui, pytest.mark.filterwarnings("ignore")]
FAST = ["HiDreamO1", "MiniMaxH3"]  # one that caches, one of video and sound
SAME_BITS = {"SD15", "SDXL", "Flux", "Chroma", "WAN21_T2V", "QwenImage", "ZImage", "HunyuanVideo", "MiniMaxH3"}  # see whole_run


def cold_error(name: str) -> float:
    return relative(*through_guider(name, build(name), cold_gradient))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in FAMILIES])
def test_the_returned_noise_gives_the_returned_latent(name: str) -> None:
    with torch.inference_mode():
        difference, outcome = whole_run(name)
    assert difference <= (0 if name in SAME_BITS else 1e-5)
    assert [len(row.loss) for row in outcome.history.rows] == [1, 1]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in FAMILIES])
def test_the_gradient_needs_nothing_that_the_model_remembers(name: str) -> None:
    with torch.inference_mode():
        assert cold_error(name) <= ILL_CONDITIONED.get(name, TOLERANCE)


def test_a_model_without_noise_is_refused_before_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "WAN21_FlowRVS", FAMILIES["WAN21_T2V"])
    with torch.inference_mode(), pytest.raises(ValueError, match=r"uses no noise .*, so there is no noise to optimize"):
        whole_run("WAN21_FlowRVS")


def test_the_refiner_of_hunyuanimage_is_accepted_with_a_vae_of_half_its_channels() -> None:
    with torch.inference_mode():
        assert whole_run("HunyuanImage21Refiner")[0] == 0
