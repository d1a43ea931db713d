"""The ComfyUI server that a dask worker owns: one that runs already, or one that the worker starts on its GPU."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from sgool.harness import comfyui
from sgool.harness.client import OUTAGE, Client, Graph
from sgool.harness.problems import SetupProblem
from sgool.harness.server import Server

from ..common.jobs import Job, Record
from ..common.spread import Owner
from .comparison import CheckpointComparison
from .graphs import graph_of, read_outputs


class OwnServer(Owner):
    """Does jobs of a comparison.

    A worker takes the server that its environment names in ``SGOOL_SERVER``, else the one of ``urls`` in its own place, else it starts one.

    Args:
        urls: addresses of running servers, for the workers 0, 1, ... of this machine.
        models: a folder like ComfyUI's ``models``, for servers that are started.
    """

    client: Client | None = None
    run_under_way = device = ""

    def __init__(self, comparison: CheckpointComparison, urls: Sequence[str] = (), models: Path | None = None) -> None:
        self.comparison, self.urls, self.models = comparison, list(urls), models

    def bring(self, place: str) -> None:
        """Find or start the server, and see whether it has what is needed."""
        url = os.environ.get("SGOOL_SERVER") or (self.urls[int(place)] if self.urls else "")
        if url and self.client is None:
            self.client, self.label = Client(url), url
        elif not url and not (isinstance(self.client, Server) and self.client.running):
            self._start(place)
        assert self.client is not None
        about = self.client.get("/system_stats")
        self._cancel()  # it may still be at a job that has been given to another
        for job in self.comparison.jobs()[: len(self.comparison.methods)]:
            self.client.check(graph_of(self.comparison, job))
        system, (device, *_) = about["system"], about["devices"]
        self.device = f"{device['name']}, ComfyUI {system['comfyui_version']}, torch {system['pytorch_version']}"

    def do(self, job: Job) -> Record:
        """Run the job's graph and fetch what it made."""
        assert self.client is not None
        graph, started = self.client.with_defaults(graph_of(self.comparison, job)), time.monotonic()
        outputs = self.run(graph)
        seconds = round(time.monotonic() - started, 2)
        names = {"image": f"images/{job.key}.png", "saliency": f"saliency/{job.key}.png"}
        contents = [self.client.fetch(outputs[node]["images"][0]) for node in ("preview", "saliency")]
        workflow = json.dumps(graph, indent=1, ensure_ascii=False).encode()
        files = {**dict(zip(names.values(), contents, strict=True)), f"workflows/{job.method}.json": workflow}
        return {**read_outputs(self.comparison, outputs), "seconds": seconds, "device": self.device, **names, "files": files}

    def run(self, graph: Graph) -> dict[str, dict[str, Any]]:
        """Run a graph and return its outputs. Raises RunFailed, also after ``teardown``, or one of OUTAGE."""
        assert self.client is not None
        self.run_under_way = self.client.submit(graph)
        outputs = self.client.wait(self.run_under_way, timeout=math.inf)
        self.run_under_way = ""
        return outputs

    def teardown(self, worker: Any = None) -> None:
        """Cancel what is under way; stop a server that was started here."""
        with suppress(*OUTAGE):
            self._cancel()
        if isinstance(self.client, Server):
            self.client.stop()
            shutil.rmtree(self.client.base, ignore_errors=True)

    def _cancel(self) -> None:
        run, self.run_under_way = self.run_under_way, ""
        if run and self.client is not None:
            self.client.cancel(run)

    def _start(self, place: str) -> None:
        tree = comfyui.find()
        if tree is None:
            raise SetupProblem("no ComfyUI was found on this machine: set COMFYUI_PATH, or name a running one with --server.")
        self.teardown()
        base, count = Path(tempfile.mkdtemp(prefix="sgool-server-")), torch.cuda.device_count()
        arguments = ["--cuda-device", str(int(place) % count)] if count > 1 and place.isdigit() else []  # in turn
        arguments += ["--models-directory", str(self.models)] if self.models is not None else []
        self.client = server = Server(tree, base, cpu=not count, arguments=arguments)
        server.start()
