"""Make the pack importable as ``sgool`` and a ComfyUI, where there is one, as ``comfy``. Tests that need more skip with the reason."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis
import pytest

_PACK = Path(__file__).resolve().parent.parent / "harness" / "pack.py"
_spec = importlib.util.spec_from_file_location("_sgool_pack_loader", _PACK)
assert _spec is not None
assert _spec.loader is not None
_loader = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_loader)
_loader.load_pack()

from sgool.harness import comfyui, in_process  # noqa: E402

COMFYUI = comfyui.find()
MISSING = "no ComfyUI here: set COMFYUI_PATH, or let `python run.py test` bring one"
NEEDS_COMFYUI = ("pytest.mark.comfyui", "pytest.mark.server", "pytest.mark.browser")

_base = Path(tempfile.mkdtemp(prefix="sgool-tests-"))
if COMFYUI is not None:
    in_process.prepare(COMFYUI, _base)
elif os.environ.get("CI"):
    raise pytest.UsageError(f"{MISSING}; under CI the tests that need it must not be skipped.")


class _WithoutComfyUI(pytest.Module):
    """A test file that cannot even be imported without ComfyUI."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if COMFYUI is not None:
        return None
    text = module_path.read_text(encoding="utf-8")
    if not any(mark in text for mark in NEEDS_COMFYUI):
        return None
    return _WithoutComfyUI.from_parent(parent, path=module_path)


def pytest_report_header() -> str:
    return f"ComfyUI: {COMFYUI or MISSING}"


def pytest_configure() -> None:
    """Where the tests are told to end (SIGTERM), leave by way of the fixtures, which end their servers and browsers."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


def pytest_unconfigure() -> None:
    shutil.rmtree(_base, ignore_errors=True)


# A loaded machine is slow at times and a property is no stopwatch; the same examples every time, so that a red run can be repeated.
hypothesis.settings.register_profile("sgool", deadline=None, derandomize=True)
hypothesis.settings.load_profile("sgool")
