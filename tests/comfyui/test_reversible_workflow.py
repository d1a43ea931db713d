"""The template that edits a given image, on a real server, with an image of the demo model's world."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sgool.demo import render, scenes
from sgool.demo.weights import WEIGHTS
from sgool.harness.pack import ROOT
from sgool.harness.server import Server

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.server,
    pytest.mark.skipif(not (WEIGHTS / "unet.safetensors").is_file(), reason="the demo model's weights are not here"),
]


def as_image(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image.reshape(3, 64, 64).movedim(0, -1).clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def test_the_template_returns_the_image_and_edits_it(server: Server) -> None:
    given = as_image(render.render(scenes.draw_scenes(1, 3)[0]))
    given.save(server.base / "input" / "sgool_test_image.png")
    graph = json.loads((ROOT / "workflows" / "api" / "sgool_edit_image.json").read_text(encoding="utf-8"))
    graph["image"]["inputs"]["image"] = "sgool_test_image.png"
    graph["inverted"]["inputs"]["steps"] = 6
    graph["sgool"]["inputs"]["preset.iterations"] = 2
    graph["encoded"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["model", 2]}}
    graph["plain"] = {"class_type": "VAEDecode", "inputs": {"samples": ["encoded", 0], "vae": ["model", 2]}}
    graph["save_plain"] = {"class_type": "SaveImage", "inputs": {"images": ["plain", 0], "filename_prefix": "plain"}}
    outputs = server.run(graph)
    plain, returned, edited = (
        np.asarray(server.view(outputs[node]["images"][0]).convert("RGB"), dtype=float)
        for node in ("save_plain", "save_returned", "save_edited")
    )
    assert np.abs(returned - plain).max() <= 1  # what the autoencoder makes of the image comes back, to rounding
    assert np.abs(edited - plain).mean() > 0.5
    assert "standard deviation of the noise" in str(outputs["report"])
