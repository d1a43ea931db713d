"""The real server that the nodes are tested through."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sgool.harness.client import Client, RunFailed
from sgool.harness.problems import SetupProblem
from sgool.harness.server import ROOT, Server

pytestmark = pytest.mark.server

IMAGE: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 255}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


def test_a_graph_runs_and_its_image_comes_back(server: Server) -> None:
    outputs = server.run(IMAGE)
    image = server.view(outputs["2"]["images"][0])
    assert image.size == (32, 16)
    assert image.convert("RGB").getpixel((0, 0)) == (0, 0, 255)


def test_events_of_the_run_are_seen(server: Server) -> None:
    kinds: list[str] = []
    graph = {**IMAGE, "1": {"class_type": "EmptyImage", "inputs": {**IMAGE["1"]["inputs"], "color": 7}}}
    server.run(graph, on_event=lambda kind, _: kinds.append(kind))
    assert "executing" in kinds
    assert "execution_success" in kinds


def test_a_graph_that_does_not_validate_is_refused_with_the_reason(server: Server) -> None:
    graph = {**IMAGE, "1": {"class_type": "EmptyImage", "inputs": {**IMAGE["1"]["inputs"], "width": -1}}}
    message = server.run_expecting_error(graph)
    assert "EmptyImage" in message
    assert "smaller than min" in message


def test_what_is_left_out_of_a_graph_that_runs_is_told(server: Server) -> None:
    broken = {"3": {"class_type": "EmptyImage", "inputs": {**IMAGE["1"]["inputs"], "width": -1}}}
    outputs = server.run({**IMAGE, **broken, "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}})
    assert set(outputs) == {"2"}
    assert any("EmptyImage: Value -1 smaller than min" in sentence for sentence in server.left_out)
    server.run(IMAGE)
    assert server.left_out == []


def test_a_node_that_fails_says_why_and_the_server_goes_on(server: Server) -> None:
    (server.base / "input" / "damaged.latent").write_bytes(b"no latent at all")
    latent = {"class_type": "LoadLatent", "inputs": {"latent": "damaged.latent"}}
    saved = {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "x"}}
    message = server.run_expecting_error({"1": latent, "2": saved})
    assert "header" in message
    assert server.run(IMAGE)["2"]["images"]


def test_an_unknown_node_is_a_key_error(server: Server) -> None:
    assert server.object_info("PreviewImage")["output_node"] is True
    with pytest.raises(KeyError):
        server.object_info("SGOOL_NoSuchNode")


def test_a_second_run_waits_in_the_queue(server: Server) -> None:
    first, second = server.submit(IMAGE), server.submit(IMAGE)
    assert server.wait(second)["2"]["images"]
    assert server.wait(first)["2"]["images"]


def test_the_pack_was_loaded_without_a_complaint(server: Server) -> None:
    log = server.log.read_text(encoding="utf-8").replace("\\", "/").partition("Starting server")[0]
    about_us = [line for line in log.splitlines() if "custom_nodes/sgool" in line]
    assert about_us
    assert not [line for line in about_us if "FAILED" in line or "Error" in line or "Cannot" in line or "Skip" in line]


def test_a_run_that_is_interrupted_says_so_and_the_next_one_is_whole(server: Server) -> None:
    slow = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 256, "height": 256, "batch_size": 1, "color": 1}},
    }
    previous = "1"
    for index in range(2, 100):
        slow[str(index)] = {"class_type": "ImageBlur", "inputs": {"image": [previous, 0], "blur_radius": 5, "sigma": index / 10}}
        previous = str(index)
    slow["out"] = {"class_type": "PreviewImage", "inputs": {"images": [previous, 0]}}

    def cancel(kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data.get("node") == "4":
            server.interrupt()

    with pytest.raises(RunFailed, match="interrupted") as failure:
        server.run(slow, on_event=cancel)
    assert failure.value.interrupted
    assert server.run(IMAGE)["2"]["images"]


def test_a_server_that_cannot_start_says_why_and_leaves_no_process(comfyui: Path, tmp_path: Path) -> None:
    bad = Server(comfyui, tmp_path, arguments=["--no-such-option"])
    with pytest.raises(SetupProblem, match="unrecognized arguments: --no-such-option"), bad:
        pytest.fail("it started")
    assert not bad.running


def test_the_server_ends_with_the_process_that_started_it(comfyui: Path, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from harness.server import Server\n"
        "server = Server(Path(sys.argv[1]), Path(sys.argv[2])); server.start(); print(server.url, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(comfyui), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    client = Client(done.stdout.strip())
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            client.get("/system_stats")
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the server outlived its parent")
