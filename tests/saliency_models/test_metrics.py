"""The metrics against pysaliency, against plain loops, and at their documented edges."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgool.saliency_models import metrics
from sgool.saliency_models.fixations import as_points, fixation_density, fixation_map
from torch import Tensor

_spec = importlib.util.spec_from_file_location("pysaliency_numbers", Path(__file__).with_name("pysaliency_numbers.py"))
assert _spec is not None
assert _spec.loader is not None
peer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(peer)
CASES = peer.cases()
RECORDED = json.loads(peer.RECORDED.read_text())


def ours(saliency: Tensor, truth: Tensor, places: Tensor, others: Tensor) -> dict[str, float]:
    uniform_auc = metrics.auc_shuffled(saliency, [places], [torch.ones_like(saliency).nonzero()])
    found = {
        "AUC-Judd": metrics.auc_judd(saliency, [places]),
        "AUC uniform": uniform_auc,
        "sAUC": metrics.auc_shuffled(saliency, [places], [others]),
        "NSS": metrics.nss(saliency, [places]),
        "CC": metrics.cc(saliency, truth),
        "SIM": metrics.sim(saliency, truth, unit_range=False),
        "SIM unit range": metrics.sim(saliency, truth),
        "KLD": metrics.kld(saliency, truth),
        "IG": metrics.information_gain(saliency + peer.OFFSET, [places]),
        "IG over map": metrics.information_gain(saliency + peer.OFFSET, [places], truth + peer.OFFSET),
    }
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_numbers_are_pysaliencys(case: str) -> None:
    assert ours(*CASES[case]) == pytest.approx(RECORDED[case], rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_recorded_numbers_are_the_installed_pysaliencys(case: str) -> None:
    pytest.importorskip("pysaliency", reason="pysaliency is an optional test extra; its recorded numbers are compared above")
    if not hasattr(np, "trapz"):
        pytest.skip("pysaliency needs numpy.trapz, which numpy 2.4 removed")
    assert peer.numbers(*CASES[case]) == pytest.approx(RECORDED[case], rel=1e-9, abs=1e-9)


def test_auc_borji_is_the_mean_over_its_draws() -> None:
    saliency, _, places, _ = CASES["landscape"]
    splits, step = 7, 0.1
    generator = torch.Generator().manual_seed(5)
    scaled = ((saliency - saliency.min()) / (saliency.max() - saliency.min())).numpy()
    positives = scaled[places[:, 0].numpy(), places[:, 1].numpy()]
    areas = []
    for _ in range(splits):
        negatives = scaled.flatten()[torch.randint(scaled.size, (len(positives),), generator=generator).numpy()]
        thresholds = np.arange(0, max(positives.max(), negatives.max()) + 1e-12, step)[::-1]
        hits = [0.0] + [float((positives >= t).mean()) for t in thresholds] + [1.0]
        alarms = [0.0] + [float((negatives >= t).mean()) for t in thresholds] + [1.0]
        areas.append(sum((alarms[i + 1] - alarms[i]) * (hits[i + 1] + hits[i]) / 2 for i in range(len(hits) - 1)))
    found = metrics.auc_borji(saliency, [places], splits, step, torch.Generator().manual_seed(5))
    assert float(found) == pytest.approx(np.mean(areas), abs=1e-12)


def test_auc_borji_approaches_the_area_against_all_pixels() -> None:
    saliency, _, places, _ = CASES["landscape"]
    found = metrics.auc_borji(saliency, [places], splits=2000, step=0.005)
    assert float(found) == pytest.approx(RECORDED["landscape"]["AUC uniform"], abs=4e-3)


def test_auc_borji_is_the_same_each_time_and_leaves_the_global_generator_alone() -> None:
    saliency, _, places, _ = CASES["landscape"]
    state = torch.random.get_rng_state()
    assert torch.equal(metrics.auc_borji(saliency, [places]), metrics.auc_borji(saliency, [places]))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batches_are_images_one_by_one() -> None:
    first, second, places, others = CASES["landscape"]
    maps, points = torch.stack([first, second])[:, None], [places, others[:10]]
    for score in (metrics.auc_judd, metrics.nss, metrics.information_gain, lambda m, f: metrics.auc_shuffled(m, f, f[::-1])):
        together = score(maps, points)
        assert together.shape == (2,)
    assert float(metrics.nss(maps, points)[1]) == float(metrics.nss(second, [others[:10]]))
    pair = metrics.cc(maps, maps.flip(0))
    assert float(pair[0]) == pytest.approx(float(pair[1]))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 8), st.integers(0, 10**6))
def test_ranges_and_invariances(height: int, width: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, height, width, generator=generator, dtype=torch.float64)
    places = torch.stack([torch.randint(side, (count,), generator=generator) for side in (height, width)], 1)
    for area in (metrics.auc_judd(first, [places]), metrics.auc_borji(first, [places], 3), metrics.auc_shuffled(first, [places], [places])):
        assert math.isnan(float(area)) or 0 <= float(area) <= 1
    assert -1 - 1e-9 <= float(metrics.cc(first, second)) <= 1 + 1e-9
    assert 0 <= float(metrics.sim(first, second)) <= 1 + 1e-9
    assert float(metrics.kld(first, second)) >= -1e-9
    assert float(metrics.sim(first, first)) == pytest.approx(1)
    assert float(metrics.cc(first, 3 * first + 2)) == pytest.approx(1)
    assert float(metrics.kld(first, 5 * first)) == pytest.approx(0, abs=1e-9)
    assert float(metrics.nss(7 * first + 1, [places])) == pytest.approx(float(metrics.nss(first, [places])))
    # Only the order of the values matters to these.
    assert float(metrics.auc_judd(first**3, [places])) == pytest.approx(float(metrics.auc_judd(first, [places])), nan_ok=True)
    assert float(metrics.auc_shuffled(first, [places], [places])) == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_a_constant_map_knows_nothing(value: float) -> None:
    flat, other = torch.full((9, 11), value), CASES["landscape"][0][:9, :11]
    places = torch.tensor([[0, 0], [4, 5], [4, 5]])
    assert float(metrics.auc_judd(flat, [places])) == pytest.approx(0.5)
    assert float(metrics.auc_borji(flat, [places])) == pytest.approx(0.5)
    assert float(metrics.auc_shuffled(flat, [places], [places])) == pytest.approx(0.5)
    assert float(metrics.nss(flat, [places])) == 0
    assert float(metrics.cc(flat, other)) == float(metrics.cc(other, flat)) == float(metrics.cc(flat, flat)) == 0
    assert float(metrics.information_gain(flat, [places])) == pytest.approx(0, abs=1e-9)
    assert float(metrics.sim(flat, torch.zeros(9, 11))) == pytest.approx(1)
    assert float(metrics.kld(flat, torch.zeros(9, 11))) == pytest.approx(0, abs=1e-9)


def test_without_fixations_there_is_no_number() -> None:
    maps = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    points = [torch.zeros(0, 2), torch.tensor([[1, 1]])]
    for score in (metrics.auc_judd, metrics.auc_borji, metrics.nss, metrics.information_gain):
        found = score(maps, points)
        assert math.isnan(found[0])
        assert math.isfinite(found[1])
    assert math.isnan(metrics.auc_shuffled(maps, points[::-1], points)[0])
    assert torch.isnan(metrics.nss(maps, torch.zeros(2, 1, 6, 6))).all()


def test_where_all_pixels_are_fixated_judd_has_no_negatives() -> None:
    assert math.isnan(metrics.auc_judd(torch.ones(3, 3), torch.ones(3, 3)))


def test_fixations_as_points_and_as_a_map_are_the_same() -> None:
    saliency, _, places, _ = CASES["portrait"]
    unique = places.unique(dim=0)
    counted = fixation_map([unique], 1, tuple(saliency.shape))
    assert float(metrics.nss(saliency, counted)) == pytest.approx(float(metrics.nss(saliency, [unique])))
    assert float(metrics.nss(saliency, places)) == float(metrics.nss(saliency, [places]))
    assert int(fixation_map([places], 1, tuple(saliency.shape)).sum()) == len(places)
    assert as_points([torch.tensor([[1.9, 2.2]])], 1, (3, 3))[0].tolist() == [[1, 2]]


@pytest.mark.parametrize("place", [(-1, 0), (0, -0.5), (6, 0), (0, 8)])
def test_fixations_outside_are_named(place: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"1 of 2 fixations of image 0 lie outside it.*rows 0 to 5 and columns 0 to 7.*swapped"):
        metrics.nss(torch.ones(6, 8), [torch.tensor([[2.0, 3.0], place])])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: metrics.cc(torch.ones(4, 4), torch.ones(4, 5)), "must be alike"),
        (lambda: metrics.nss(torch.ones(4, 4), torch.ones(5, 5) > 0.5), "4 x 4.*must be of one size"),
        (lambda: metrics.nss(torch.ones(2, 4, 4), [torch.zeros(1, 2)]), "one list of points for each image"),
        (lambda: metrics.nss(torch.ones(4, 4), [torch.zeros(3, 3)]), r"\(row, column\)"),
        (lambda: metrics.nss(torch.ones(4, 4), [torch.tensor([[0.0, float("nan")]])]), "NaN or infinite"),
        (lambda: metrics.kld(torch.full((4, 4), float("nan")), torch.ones(4, 4)), "NaN or infinite"),
        (lambda: metrics.cc(torch.ones(2, 3, 4, 4), torch.ones(4, 4)), "at least one pixel"),
        (lambda: metrics.auc_borji(torch.ones(4, 4), [torch.zeros(1, 2)], splits=0), "at least one split"),
    ],
)
def test_bad_input_gets_a_sentence(call, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_the_density_of_fixations_has_the_benchmarks_width() -> None:
    density = fixation_density([torch.tensor([[100, 150]])], 1, (200, 300))[0, 0]
    assert float(density.max()) == 1
    profile = density[100]
    sigma = math.sqrt(float((profile * (torch.arange(300) - 150.0) ** 2).sum() / profile.sum()))
    # Half the amplitude at 8 cycles per 300 pixels.
    assert math.exp(-2 * (math.pi * sigma * 8 / 300) ** 2) == pytest.approx(0.5, abs=1e-6)
    assert float(fixation_density([torch.zeros(0, 2)], 1, (5, 5)).max()) == 0
