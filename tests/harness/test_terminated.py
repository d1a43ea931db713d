"""What is left of a test run that is told to end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from sgool.harness.page import why_no_browser
from sgool.harness.server import ROOT

TEST = """
import time
from sgool.harness.page import start_chromium
import pytest

@pytest.fixture(scope="module")
def driver():
    started = start_chromium()
    yield started
    started.quit()

def test_that_waits(driver):
    print("begun", flush=True)
    time.sleep(100)
"""


@pytest.mark.browser
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM on Windows")
@pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser() or "-")
def test_no_browser_outlives_tests_that_are_terminated(tmp_path: Path) -> None:
    (tmp_path / "test_waits.py").write_text(TEST, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        assert any("begun" in line for line in tests.stdout)
        below = psutil.Process(tests.pid).children(recursive=True)
        assert any("chromedriver" in each.name() for each in below)
        tests.send_signal(signal.SIGTERM)
        assert "terminated" in tests.stdout.read()
    assert tests.returncode == 143
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive
