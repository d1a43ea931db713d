"""Adding an update rule by adding one file, as docs/extending.md says: its own example, tried."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from sgool.harness.pack import ROOT
from sgool.latent_optimization import update_rules
from sgool.latent_optimization.optimize import optimize
from sgool.latent_optimization.settings import Settings
from sgool.schema.registered import registered

from .toy import Quadratic, linear_sampler, normal


def example() -> str:
    """The Python text of the page's indented block."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    block = re.search(r"\n\n((?:    .*\n|\n)+?)\nSaved as", page)
    assert block is not None
    return "\n".join(line[4:] for line in block[1].splitlines()) + "\n"


def test_the_pages_example_is_found_and_optimizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gradient_descent.py").write_text(example(), encoding="utf-8")
    monkeypatch.setattr(update_rules, "__path__", [*update_rules.__path__, str(tmp_path)])
    found = registered(update_rules.__path__, update_rules.__name__)
    try:
        assert set(found) == {*update_rules.UPDATE_RULES, "gradient descent"}
        rule = found["gradient descent"](learning_rate=0.1)
        noise, target = normal(1, 3, 4), normal(1, 3, 4, seed=1)
        result = optimize(noise, linear_sampler(), Quadratic(target), Settings(iterations=1, rule=rule, renormalize="none"))
        gradient = 2 * 2 * (2 * noise + 0.25 - target) / 12
        assert torch.allclose(result.noise, noise - 0.1 * gradient)
        with pytest.raises(ValueError, match=r"learning_rate is 0; it has to be above 0\."):
            found["gradient descent"](learning_rate=0)
    finally:
        sys.modules.pop(f"{update_rules.__name__}.gradient_descent", None)
        importlib.invalidate_caches()
