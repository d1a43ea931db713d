"""One job on one server: its graph, its run, and what is kept of it."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from typing import Any

from PIL import Image
from sgool.harness.client import Client
from sgool.harness.problems import SetupProblem

from .graphs import Builder, node_types, read_outputs
from .plan import Job, Plan
from .stations import Station

COST = re.compile(r"(\d+) sampler runs, (\d+) of them differentiated, .*?(\d+) model calls")


class Work:
    """Does jobs of a plan. ``prepare`` belongs to ``Station``, the call to ``Spread``.

    Args:
        timeout: seconds that one job may take.
    """

    def __init__(self, plan: Plan, timeout: float) -> None:
        self.plan = plan
        self.timeout = timeout

    def prepare(self, client: Client) -> Builder:
        """Ask a server for its nodes. Raises SetupProblem where it lacks a node, the checkpoint, or something else that is named."""
        definitions = {}
        for name in node_types(self.plan):
            found = client.get(f"/object_info/{name}")
            if name not in found:
                raise _lacks(name)
            definitions[name] = found[name]
        builder = Builder(self.plan, definitions)
        builder.check()
        return builder

    def __call__(self, station: Station, job: Job, stop: threading.Event) -> dict[str, Any]:
        """Run the job and fetch what it made."""
        started = time.monotonic()
        graph = station.prepared.graph(job)
        outputs = station.run(graph, stop, self.timeout)
        seconds = time.monotonic() - started
        record = read_outputs(self.plan, outputs)
        image = station.client.fetch(outputs["preview"]["images"][0])
        overlay = station.client.fetch(outputs["saliency"]["images"][0])
        names = {"image": f"images/{job.key}.png", "saliency": f"saliency/{job.key}.png"}
        for contents in (image, overlay):
            Image.open(io.BytesIO(contents)).verify()
        return {
            **record,
            "cost": cost_of(record.pop("history")),
            "seconds": round(seconds, 2),
            "device": station.device,
            "software": station.software,
            **names,
            "files": {
                names["image"]: image,
                names["saliency"]: overlay,
                f"workflows/{job.method}.json": json.dumps(graph, indent=1, ensure_ascii=False).encode(),
            },
        }


def cost_of(history: str) -> dict[str, int] | None:
    """What SGOOL KSampler says it spent: ``runs`` of the sampler, ``backwards`` through it, ``calls`` of the model in the runs."""
    found = COST.search(history)
    return dict(zip(("runs", "backwards", "calls"), map(int, found.groups()), strict=True)) if found else None


def _lacks(node: str) -> SetupProblem:
    hint = "; is this pack in its custom_nodes, in this version?" if node.startswith("SGOOL_") else "; is its ComfyUI 0.30 or newer?"
    return SetupProblem(f"it has no node {node}{hint}")
