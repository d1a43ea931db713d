"""`python run.py serve`, from its first line to Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sgool.harness import serve
from sgool.harness.client import Client
from sgool.harness.server import ROOT, free_port

pytestmark = [pytest.mark.server, pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process on Windows")]


def test_serve_names_its_address_and_stops_on_ctrl_c(comfyui: Path) -> None:
    command = [sys.executable, "-m", "harness.serve", "--no-browser", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline(), process.stdout.readline()]
            address = re.search(r"http://127\.0\.0\.1:\d+", lines[1])
            assert address is not None, "".join(lines) + process.stdout.read()
            client = Client(address[0])
            assert "PreviewImage" in client.object_info("PreviewImage")["name"]
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert "Traceback" not in rest
    assert serve.left_out() in rest
    assert "Stopped." in rest
    with pytest.raises(OSError, match="refused"):
        client.get("/system_stats")


def test_what_serve_leaves_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"comfyui_embedded_docs"}
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: object() if name in there else None)
    said = serve.left_out()
    assert "ComfyUI's own templates." in said
    assert said.endswith("-m pip install comfyui-workflow-templates")
    there.add("comfyui_workflow_templates")
    assert serve.left_out() == ""
