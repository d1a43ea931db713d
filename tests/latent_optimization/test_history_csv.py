"""The numbers of a run as comma-separated values: read back by Python's reader, they are the history."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest
import torch
from sgool.latent_optimization.history import Cost, HeldOut, History, Rescored, Row, TriedNoise
from sgool.latent_optimization.history_csv import to_csv
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.regularizers import WhiteNoise
from sgool.latent_optimization.settings import Settings
from sgool.latent_optimization.trust_region import TrustRegion
from sgool.latent_optimization.update_rules.normalized_gradient import NormalizedGradient

from .toy import Quadratic, linear_sampler, normal

Line = dict[str, str]


def run(best_of: int = 3, iterations: int = 3, images: int = 2) -> History:
    """A run with everything in it: a search, steps that are taken back, rescoring, and a held-out objective."""
    settings = Settings(
        iterations=iterations,
        rule=NormalizedGradient(3.0),
        best_of=best_of,
        returned="rescored",
        rescoring_candidates=2,
        regularizer=WhiteNoise(),
        trust_region=TrustRegion(),
    )
    objective, held_out = Quadratic(normal(images, 4, 4, seed=1), 0.1), Quadratic(normal(images, 4, 4, seed=2))
    return optimize(normal(images, 4, 4), linear_sampler(), objective, settings, held_out=held_out).history


def read(text: str) -> list[Line]:
    return list(csv.DictReader(io.StringIO(text)))


def number(cell: str) -> float:
    return float(cell) if cell else math.nan


def cost(line: Line) -> Cost:
    calls = int(line["model_calls"]) if line["model_calls"] else None
    counts = (int(line[name]) for name in ("sampler_runs", "sampler_backwards", "evaluations"))
    return Cost(*counts, calls, float(line["seconds"]))


def rebuilt(lines: list[Line], images: int, elements: int) -> History:
    """The history that a table tells of, made without the code under test."""
    history = History(images, elements)
    of = {phase: [line for line in lines if line["phase"] == phase] for phase in ("search", "optimize", "rescore")}
    for group in (of["search"][at : at + images] for at in range(0, len(of["search"]), images)):
        history.candidates.append(TriedNoise(int(group[0]["iteration"]), [number(line["loss"]) for line in group], cost(group[0])))
    for group in (of["optimize"][at : at + images] for at in range(0, len(of["optimize"]), images)):
        assert [line["image"] for line in group] == [str(image + 1) for image in range(images)]
        names = [name for name in group[0] if name.startswith("part: ")]
        flags = ("rejected", "active", "finite")
        numbers = [name for name in Row.__annotations__ if name in group[0] and name not in flags]
        values: dict[str, Any] = {name: [number(line[name]) for line in group] for name in numbers}
        values |= {name: [{"true": True, "false": False}[line[name]] for line in group] for name in flags}
        values |= {"iteration": int(group[0]["iteration"]), "cost": cost(group[0])}
        parts = {name.removeprefix("part: "): [number(line[name]) for line in group] for name in names}
        history.rows.append(Row(parts=parts, **values))
    for line in of["rescore"]:
        history.rescored.append(Rescored(int(line["image"]) - 1, int(line["iteration"]), number(line["loss"]), cost(line)))
    history.returned_iteration = [0] * images
    for line in of["optimize"]:
        if line["returned"] == "true":
            history.returned_iteration[int(line["image"]) - 1] = int(line["iteration"])
    return history


def held_out(line: Line, place: str) -> HeldOut:
    parts = {name.removeprefix("held_out part: "): float(value) for name, value in line.items() if name.startswith("held_out part: ")}
    loss, plain = float(line["held_out_loss"]), float(line["loss_without_augmentations"])
    return HeldOut(int(line["image"]) - 1, place, plain, loss, parts)


@pytest.mark.parametrize("best_of", [1, 3])
def test_read_back_it_is_the_history_to_the_last_bit(best_of: int) -> None:
    history = run(best_of)
    assert any(any(row.rejected) for row in history.rows)
    again, known = rebuilt(read(to_csv(history)), history.images, history.elements).to_dict(), history.to_dict()
    for name in ("candidates", "rows", "rescored", "returned_iteration"):
        assert again[name] == known[name], name


@pytest.mark.parametrize("best_of", [1, 3])
def test_what_a_held_out_objective_says_stands_beside_the_iterate_it_was_asked_about(best_of: int) -> None:
    history = run(best_of)
    lines = [line for line in read(to_csv(history)) if line["held_out_loss"]]
    wanted = {(look.image, look.place): look for look in history.held_out}
    for line in lines:
        image = int(line["image"]) - 1
        if line["phase"] == "search" or (best_of == 1 and line["iteration"] == "0"):
            place = "given"
        else:
            place = "returned" if line["returned"] == "true" else "searched"
        assert held_out(line, place) == wanted[image, place]
    assert {(line["phase"], line["iteration"]) for line in lines} >= {("search" if best_of > 1 else "optimize", "0")}
    assert sum(line["returned"] == "true" for line in lines) == history.images


def test_a_search_alone_and_a_run_that_was_never_scored() -> None:
    lines = read(to_csv(run(iterations=0)))
    assert [line["phase"] for line in lines] == ["search"] * 6 + ["optimize"] * 2
    assert all(line["returned"] == "true" and line["held_out_loss"] for line in lines[6:])
    plain = optimize(normal(1, 4), linear_sampler(), None, Settings(iterations=0)).history
    (line,) = read(to_csv(plain))
    assert (line["loss"], line["model_calls"], line["returned"]) == ("", "", "true")
    assert to_csv(History(1, 4)).count("\n") == 1  # nothing but the names


def test_a_name_with_a_comma_a_quote_and_a_line_break_is_one_column() -> None:
    name = 'red, "round"\nand = small'

    def evaluate(latent: torch.Tensor, *_: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        losses = latent.square().mean(1)
        return losses, {name: losses.detach()}

    history = optimize(normal(1, 4), linear_sampler(), evaluate, Settings(iterations=1)).history
    lines = read(to_csv(history))
    assert [number(line[f"part: {name}"]) for line in lines] == [row.loss[0] for row in history.rows]
    assert "\r" not in to_csv(history)
