"""Tiny image-text models, saved in folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sgool.rewards.encoder_files import load_encoder
from sgool.rewards.encoders import TransformersEncoder

from .saved_models import SAVERS, save_clip


@pytest.fixture(scope="session", params=list(SAVERS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole model; not to be changed."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    SAVERS[request.param](folder)
    return folder


@pytest.fixture(scope="session")
def saved_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole CLIP model; not to be changed."""
    folder = tmp_path_factory.mktemp("saved-clip")
    torch.manual_seed(0)
    save_clip(folder)
    return folder


@pytest.fixture
def own_clip(tmp_path: Path) -> Path:
    """A folder with a whole CLIP model, to be damaged."""
    save_clip(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def encoder(saved_clip: Path) -> TransformersEncoder:
    """A tiny CLIP in float64."""
    return load_encoder(saved_clip, torch.float64)
