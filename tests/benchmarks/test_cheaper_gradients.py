"""What cheaper gradients are said to cost, and the runs that equal time pays for."""

from __future__ import annotations

import pytest
from sgool.benchmarks import cheaper_gradients as cheaper
from sgool.latent_optimization.checkpointed_calls import JacobianSchedule

pytestmark = pytest.mark.comfyui


@pytest.mark.parametrize(
    ("schedule", "recomputed", "stored"),
    [(JacobianSchedule(), 24, 16), (JacobianSchedule("last", 4), 16, 12), (JacobianSchedule("conditional"), 16, 12)],
)
def test_an_iteration_costs_its_forwards_and_what_is_differentiated(schedule: JacobianSchedule, recomputed: float, stored: float) -> None:
    way = cheaper.Way(schedule)
    assert (way.cost(), way.cost(stored=True)) == (recomputed, stored)


def test_every_way_gets_the_time_of_the_exact_gradient() -> None:
    exact = cheaper.ITERATIONS * cheaper.WAYS[cheaper.EXACT].cost()
    for way in cheaper.WAYS.values():
        own = [method.preset.settings.iterations for method in cheaper.methods_of(way)]
        rest = sum(own[1:]) * cheaper.WAYS[cheaper.EXACT].cost()
        assert own[0] * way.cost() + rest == pytest.approx(exact, rel=0.05)


def test_the_rows_compare_with_all_calls_image_by_image() -> None:
    found = {cheaper.EXACT: [{"similarity": 0.5, "right": True}] * 2, "the last call": [{"similarity": 0.7, "right": False}] * 2}
    cosine = {name: [1.0, 0.5] for name in found}
    exact, last = cheaper.rows_of(found, cosine, cosine, {cheaper.EXACT: [0.4, 0.4], "the last call": [0.5, 0.7]})
    assert exact[-4:] == ["0.5000", "", "100", "0.400 ± 0.000"]
    assert last[-4:] == ["0.7000", "+0.2000 ± 0.0000", "0", "0.600 ± 0.200"]
