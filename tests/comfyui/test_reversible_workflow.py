"""The template that edits an image, as shipped, on a real server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sgool.demo.weights import WEIGHTS
from sgool.harness.pack import ROOT
from sgool.harness.server import Server

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.server,
    pytest.mark.skipif(not (WEIGHTS / "unet.safetensors").is_file(), reason="the demo model's weights are not here"),
]


def link(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def test_the_template_runs_as_shipped_and_edits_what_it_was_told_to(server: Server) -> None:
    graph = json.loads((ROOT / "workflows" / "api" / "SGOOL-Edit-Image.json").read_text(encoding="utf-8"))
    wanted = graph["wanted_prompt"]["inputs"]["value"]
    # The judge has nothing in common with the reward: what the image shows before, and after.
    graph["before"] = link("SGOOL_DemoJudge", images=["image", 0], prompt=wanted)
    graph["after"] = link("SGOOL_DemoJudge", images=["edited_image", 0], prompt=wanted)
    # There and back, with the prompt of the inversion: what the autoencoder makes of the image.
    noise, sampler, sigmas, latent = ["noise", 0], ["inverted", 1], ["inverted", 2], ["inverted", 3]
    graph["old"] = link("BasicGuider", model=["model", 0], conditioning=["shows", 0])
    graph["returned"] = link("SamplerCustomAdvanced", noise=noise, guider=["old", 0], sampler=sampler, sigmas=sigmas, latent_image=latent)
    graph["plain"] = link("VAEDecode", samples=latent, vae=["model", 2])
    graph["back"] = link("VAEDecode", samples=["returned", 0], vae=["model", 2])
    for name in ("plain", "back"):
        graph[f"save_{name}"] = link("SaveImage", images=[name, 0], filename_prefix=name)
    outputs = server.run(graph)
    plain, back = (np.asarray(server.view(outputs[node]["images"][0]).convert("RGB"), dtype=float) for node in ("save_plain", "save_back"))
    assert np.abs(back - plain).max() <= 1  # to rounding
    assert outputs["before"]["text"][0].startswith("wrong: an object or attribute")
    assert outputs["after"]["text"] == ["right (sees large red circle, small green square)"]
