"""A sum of objectives through SGOOL KSampler: what its terms did to each other stands in the history, and what went wrong in its words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sgool.guidance.objective import BALANCES, Context, Scored
from sgool.nodes.guidance import CombineObjectives
from torch import Tensor

from .objectives import Red
from .test_procedure import ksampled, model  # noqa: F401

pytestmark = [pytest.mark.comfyui, pytest.mark.usefixtures("as_in_a_node"), pytest.mark.filterwarnings("ignore")]


class Dark(Red):
    """The darker the better; no number in its third call."""

    name = "dark"

    def __call__(self, images: Tensor, context: Context) -> Scored:
        self.calls += 1
        losses = images.mean((1, 2, 3)) * (float("nan") if self.calls == 3 else 1e3)
        return Scored(losses, {})


@pytest.mark.parametrize("weights", BALANCES)
def test_history_and_words_of_a_sum(model: Any, weights: str) -> None:  # noqa: F811
    (total,) = CombineObjectives.execute(objective_1=Red(), objective_2=Dark(), weights=weights).result
    _, _, plot, text, *_ = ksampled(model, objective=total, preset="balanced", iterations=3, sampler_name="euler")
    assert "dark was no finite number for image 1 (1 times): it was left out there, and the others went on." in text
    assert ("dark makes 100 % of the gradient" in text) == (weights == "factors")
    header = next(line for line in text.splitlines() if line.lstrip().startswith("iteration"))
    for part in ("objective 1: share", "dark: share", "objective 1: agreement", "dark: loss"):
        assert part in header
    assert plot.shape[1] > 5 * 300, "loss, parts, loss, share and agreement of each, and the gradient"
    assert torch.isfinite(plot).all()
