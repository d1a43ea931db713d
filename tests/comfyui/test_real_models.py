"""The table on real models, end to end: the command against a server with the demo model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from sgool.benchmarks.__main__ import main
from sgool.benchmarks.real.comparison import CheckpointComparison
from sgool.benchmarks.real.graphs import graph_of
from sgool.benchmarks.real.own_server import OwnServer
from sgool.harness.client import RunFailed, RunLost, describe_outage
from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem
from sgool.harness.server import Server

pytestmark = [pytest.mark.comfyui, pytest.mark.server]
DEMO = CheckpointComparison("demo", ("a large red circle",), best_of=2, steps=3, cfg=3.0, width=64, height=64, iterations=1)


def arguments(server: Server, folder: Path, *more: str) -> list[str]:
    prompts = folder.parent / "prompts.txt"
    prompts.write_text("# two\na large red circle\na blue square\n")
    command = ["--checkpoint", "demo", "--prompts", str(prompts), "--folder", str(folder), "--server", server.url]
    return [*command, "--steps", "3", "--cfg", "3", "--iterations", "1", "--best-of", "2", *more]


def test_the_command_makes_the_table_and_goes_on_from_where_it_was(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    methods = ("--methods", "plain", "best-of-N", "winner")
    script = [sys.executable, "-m", "harness.script", "sgool.benchmarks", "real_models"]
    command = [*script, *arguments(server, folder, "--most-prompts", "1", *methods)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "3 jobs to do, 0 are done already." in first.stdout
    assert main(["real_models", *arguments(server, folder, *methods)]) == 0
    assert "3 jobs to do, 3 are done already" in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    assert not [line for line in lines if "failed" in line]
    assert all(-1 <= line["scores"]["optimized"] <= 1 for line in lines)
    by_method = {line["method"]: line for line in lines}
    assert by_method["winner"]["cost"] == {"runs": 18, "backwards": 1, "calls": 54}  # a search among 16 first
    assert by_method["best-of-N"]["cost"] == {"runs": 2, "backwards": 0, "calls": 6}
    assert by_method["plain"]["cost"] is None  # which KSampler does not tell
    for name in ("image", "saliency"):
        with Image.open(folder / by_method["plain"][name]) as image:
            assert image.size == (64, 64)
    assert "ComfyUI 0." in by_method["plain"]["device"]
    workflow = json.loads((folder / "workflows" / "best-of-N.json").read_text())
    assert workflow["settings"]["inputs"]["best_of"] == 2
    table = (folder / "table.md").read_text()
    assert "6 of 6 images are there" in table
    assert "| plain | 2 |" in table
    assert (folder / "sheets" / "sheet-01.jpg").exists()


def test_every_method_is_a_graph_that_the_server_takes(server: Server) -> None:
    """Validation only: what DOODL's and SGOOL's whole procedure costs is not for the fast tests."""
    for job in DEMO.jobs():
        server.check(graph_of(DEMO, job))
        server.cancel(server.submit(server.with_defaults(graph_of(DEMO, job))))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sampler": "no such sampler"}, "it offers no sampler_name 'no such sampler', only: euler"),
        ({"checkpoint": "sd15.safetensors", "optimized_reward": "clip"}, "it offers no ckpt_name 'sd15.safetensors', only: none"),
        ({"judging_rewards": ("clip",)}, "it offers no reward_name 'clip'"),
        ({"saliency_model": "eyes"}, "it offers no model_name 'eyes', only: "),
    ],
)
def test_what_a_server_lacks_is_named(server: Server, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SetupProblem, match=sentence):
        OwnServer(replace(DEMO, **changes), [server.url]).bring("0")


def test_an_input_that_a_node_does_not_have_and_a_node_that_is_not_there_are_not_sent(server: Server) -> None:
    with pytest.raises(SetupProblem, match="its KSampler has no input 'views'"):
        server.check({"1": {"class_type": "KSampler", "inputs": {"views": "cutouts"}}})
    with pytest.raises(SetupProblem, match="it has no node SGOOL_Nothing"):
        server.check({"1": {"class_type": "SGOOL_Nothing", "inputs": {}}})


def test_a_job_that_is_done_again_on_the_same_server_gives_the_same(server: Server) -> None:
    """As after a fetch that failed: all of it comes from ComfyUI's cache then."""
    owner = OwnServer(DEMO, [server.url])
    owner.bring("0")
    first, again = (owner.do(DEMO.jobs()[0]) for _ in range(2))
    assert {**first, "seconds": 0} == {**again, "seconds": 0}


def test_a_folder_of_models_judges_and_a_server_that_is_not_there_is_a_sentence(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = server.base / "models" / "rewards" / "copied"
    shutil.copytree(ROOT / "demo" / "weights" / "reward", copied)
    try:
        more = ("--methods", "plain", "--judging-rewards", "copied", "--server", "http://127.0.0.1:9")
        assert main(["real_models", *arguments(server, tmp_path / "out", *more)]) == 0
        output = capsys.readouterr().out
        assert "http://127.0.0.1:9 is set aside: nobody listens there" in output
        assert "2 of 2 images are there" in output
        line, _ = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
        assert line["scores"]["copied"] == line["scores"]["optimized"]
        assert "| copied | the demo model's reward (optimized) |" in (tmp_path / "out" / "table.md").read_text()
        # The graph for a real checkpoint: all of it is fine but the checkpoint, which is not there.
        real = CheckpointComparison("sd15.safetensors", ("a cat",), best_of=2, optimized_reward="copied", judging_rewards=("hub:some/one",))
        loader = server.object_info("CheckpointLoaderSimple")
        loader["input"]["required"]["ckpt_name"] = [["sd15.safetensors"]]
        info = server.object_info
        monkeypatch.setattr(server, "object_info", lambda name: loader if name == "CheckpointLoaderSimple" else info(name))
        for job in real.jobs():
            server.check(graph := server.with_defaults(graph_of(real, job)))
            assert graph["reward_0"]["inputs"]["hub_name"] == "some/one"
            with pytest.raises(RunFailed) as refusal:
                server.submit(graph)
            complaints = str(refusal.value).splitlines()[1:]
            assert complaints
            assert all(line.startswith("CheckpointLoaderSimple: Value not in list") for line in complaints), complaints
    finally:
        shutil.rmtree(copied)


def test_a_run_that_the_server_does_not_know_is_lost(server: Server) -> None:
    with pytest.raises(RunLost) as lost:
        server.wait("no-such-run")
    assert describe_outage(lost.value) == "it was restarted, or its queue was cleared"
    assert describe_outage(TimeoutError()) == "it does not answer in time"


@pytest.mark.slow
def test_the_published_methods_run_whole(server: Server, tmp_path: Path) -> None:
    more = ("--methods", "EDICT", "DOODL", "SGOOL", "--most-prompts", "1")
    assert main(["real_models", *arguments(server, tmp_path / "out", *more)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    costs = {line["method"]: line["cost"] for line in lines}
    assert costs["EDICT"] is None  # nothing was optimized, so nothing is told
    assert costs["DOODL"] == costs["SGOOL"] == {"runs": 2, "backwards": 1, "calls": 200}  # 50 steps of two calls each
    assert "| EDICT, not optimized | 1 |" in (table := (tmp_path / "out" / "table.md").read_text())
    assert " | 200 | 1 | " in table


@pytest.mark.slow
def test_servers_that_are_started_here_do_the_jobs_and_end(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With another ComfyUI's models; the workers' servers are gone with them."""
    copied = server.base / "models" / "rewards" / "copied"
    shutil.copytree(ROOT / "demo" / "weights" / "reward", copied)
    own = arguments(server, tmp_path / "out", "--methods", "plain", "--judging-rewards", "copied")
    own[own.index("--server") : own.index("--server") + 2] = ["--workers", "2", "--models", str(server.base / "models")]
    try:
        assert main(["real_models", *own]) == 0
    finally:
        shutil.rmtree(copied)
    assert "2 of 2 images are there" in capsys.readouterr().out
    assert not [child for child in psutil.Process().children(recursive=True) if "sgool-server-" in " ".join(child.cmdline())]
