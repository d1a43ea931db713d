"""The registry: names, recognition, and the sentences for what is not there."""

from __future__ import annotations

import pytest
import torch
from sgool.saliency_models import registry
from sgool.saliency_models.interface import KINDS


def test_entries_are_complete() -> None:
    entries = registry.available()
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.kind in KINDS
        assert entry.license
        if entry.weights is not None:
            assert entry.weights.where.strip()
            assert entry.weights.filename.strip()
            assert "B" in entry.weights.size


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no saliency predictor called 'deep'.*graph-based"):
        registry.load("deep")


def test_weights_for_a_predictor_without_any_are_refused() -> None:
    with pytest.raises(ValueError, match="computes without weights"):
        registry.load("graph-based", weights={"a": torch.zeros(1)})


def test_missing_weights_say_where_they_are() -> None:
    for entry in registry.available():
        if entry.weights is None:
            continue
        with pytest.raises(ValueError, match="models/saliency") as raised:
            registry.load(entry.name)
        for fact in (entry.weights.where, entry.weights.size, entry.weights.license, entry.weights.filename):
            assert fact in str(raised.value)


def test_strange_keys_are_not_recognized() -> None:
    assert registry.recognize({}) is None
    assert registry.recognize({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}) is None
