"""The run's numbers as a file: the csv output through core's Save Text."""

from __future__ import annotations

import csv
import io

import pytest
from sgool.harness.client import Graph
from sgool.harness.server import Server

from .test_progress_server import DEMO

pytestmark = pytest.mark.server

SAMPLER: Graph = {
    "sampler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "wrapped": {
        "class_type": "SGOOL_Sampler",
        "inputs": {"sampler": ["sampler", 0], "objective": ["5", 0], "vae": ["1", 2], "preset": "balanced", "preset.iterations": 2},
    },
    "schedule": {"class_type": "BasicScheduler", "inputs": {"model": ["1", 0], "steps": 3}},
    "run": {
        "class_type": "SamplerCustom",
        "inputs": {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
        | {"noise_seed": 1, "cfg": 2.0, "sampler": ["wrapped", 0], "sigmas": ["schedule", 0]},
    },
    "report": {"class_type": "SGOOL_Report", "inputs": {"sampler": ["wrapped", 0], "latent": ["run", 0]}},
    "saved": {"class_type": "SaveText", "inputs": {"text": ["report", 3], "filename_prefix": "numbers", "format": "csv"}},
}
KSAMPLER: Graph = {
    "run": {
        "class_type": "SGOOL_KSampler",
        "inputs": {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "steps": 3, "cfg": 2.0}
        | {"objective": ["5", 0], "held_out": ["5", 0], "vae": ["1", 2], "preset": "search first", "preset.iterations": 2},
    },
    "saved": {"class_type": "SaveText", "inputs": {"text": ["run", 4], "filename_prefix": "numbers", "format": "csv"}},
}


@pytest.mark.parametrize(("graph", "tried"), [(SAMPLER, 0), (KSAMPLER, 16)], ids=["report", "ksampler"])
def test_a_runs_numbers_can_be_saved(server: Server, graph: Graph, tried: int) -> None:
    saved = server.run(server.with_defaults(DEMO | graph))["saved"]
    text = server.fetch(saved["files"][0]).decode()
    assert text.replace("\r\n", "\n") == saved["text"][0]
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["phase"] for line in lines if line["phase"] != "rescore"] == ["search"] * tried + ["optimize"] * 3
    assert [int(line["iteration"]) for line in lines if line["phase"] == "optimize"] == [0, 1, 2]
    calls = [int(line["model_calls"]) for line in lines]
    assert calls == sorted(calls)
    (returned,) = (line for line in lines if line["returned"] == "true")
    assert bool(returned.get("held_out_loss")) == (graph is KSAMPLER)
