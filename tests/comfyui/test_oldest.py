"""What somebody with an old ComfyUI is told."""

from __future__ import annotations

import asyncio
import logging
import re

import comfyui_version
import pytest
import sgool
from sgool.comfy_bridge.oldest import OLDEST, why_too_old
from sgool.harness.server import ROOT

pytestmark = pytest.mark.comfyui


@pytest.mark.parametrize(
    ("version", "old"), [("0.3.75", True), ("0.23.9", True), ("0.24.0", False), ("0.30.0", False), ("1.0", False), ("dev", False)]
)
def test_only_an_older_comfyui_is_told_to_update(version: str, old: bool) -> None:
    assert bool(why_too_old(version)) is old
    if old:
        assert f"{OLDEST} or newer and this is {version}" in why_too_old(version)


def test_the_log_says_it_when_the_pack_is_loaded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        asyncio.run(sgool.comfy_entrypoint())
        assert "update ComfyUI" not in caplog.text
        monkeypatch.setattr(comfyui_version, "__version__", "0.16.3")
        asyncio.run(sgool.comfy_entrypoint())
    assert "this is 0.16.3" in caplog.text


def test_readme_and_registry_say_the_same() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^requires-comfyui = "(.*)"$', project, re.M) == [f">={OLDEST}"]
    assert f"({OLDEST.rpartition('.')[0]} or newer)" in (ROOT / "README.md").read_text(encoding="utf-8")
