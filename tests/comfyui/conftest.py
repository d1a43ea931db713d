"""Fixtures for the tests against a real ComfyUI."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from sgool.harness import comfyui as comfyui_finder
from sgool.harness.page import Page, start_chromium, why_no_browser
from sgool.harness.server import Server


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The folder of the ComfyUI in use. By the time a test runs, ``import comfy`` works, on the CPU."""
    folder = comfyui_finder.find()
    assert folder is not None  # tests/conftest.py skips the file otherwise
    return folder


@pytest.fixture
def as_in_a_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As ComfyUI runs nodes, in inference mode; without progress bars, interrupted by nobody."""
    import comfy.model_management
    import comfy.utils
    import torch

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_ENABLED", False)
    comfy.model_management.interrupt_current_processing(False)
    with torch.inference_mode():
        yield
    comfy.model_management.interrupt_current_processing(False)


@pytest.fixture(scope="session")
def server(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server with the pack, for all tests of the session. Its folders are under ``server.base``."""
    with Server(comfyui, tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the server's log to the report of a test that failed with it."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, Server):
        report.sections.append(("end of the server's log", server.tail()))
    return report


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    """The server's page in a headless Chromium, already open. Skips where there is no Chromium."""
    reason = why_no_browser()
    if reason:
        pytest.skip(reason)
    server.post("/settings", {"Comfy.TutorialCompleted": True})  # else the template browser lies over the first graph
    driver = start_chromium()
    try:
        opened = Page(driver, server.url)
        opened.open()
        yield opened
    finally:
        driver.quit()
