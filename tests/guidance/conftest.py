"""A tiny encoder for the losses."""

from __future__ import annotations

import pytest
import torch
from sgool.rewards.encoder_files import load_encoder
from sgool.rewards.encoders import TransformersEncoder

from ..rewards.saved_models import save_clip


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TransformersEncoder:
    """A tiny CLIP in float64."""
    folder = tmp_path_factory.mktemp("saved-clip")
    torch.manual_seed(0)
    save_clip(folder)
    return load_encoder(folder, torch.float64)
