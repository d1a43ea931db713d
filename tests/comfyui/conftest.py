"""Fixtures for the tests against a real ComfyUI."""

from __future__ import annotations

from pathlib import Path

import pytest
from sgool.harness import comfyui as comfyui_finder


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The folder of the ComfyUI in use. By the time a test runs, ``import comfy`` works, on the CPU."""
    folder = comfyui_finder.find()
    assert folder is not None  # tests/conftest.py skips the file otherwise
    return folder
