"""The scores of saliency predictors: read, and matched by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sgool.benchmarks.__main__ import main
from sgool.saliency_models.center_prior import central_gaussian
from sgool.saliency_models.drawing import to_pil


def test_images_and_maps_meet_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two images with maps, and a third map without: all are central Gaussians, the third a narrow one."""
    images, maps = tmp_path / "images", tmp_path / "maps"
    for folder in (images, maps):
        folder.mkdir()
    for number, sigma in enumerate((0.18, 0.18, 0.10)):
        to_pil(central_gaussian((60, 80), torch.zeros(()), sigma)[0].expand(3, -1, -1)).save(maps / f"{number}.png")
        if number < 2:
            to_pil(torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(number))).save(images / f"{number}.png")
    main(["saliency_scores", "--images", str(images), "--maps", str(maps), "--models", "center-prior"])
    out = capsys.readouterr().out
    assert out.startswith("2 images")
    assert float(out.split("| center-prior | ")[1].split(" ")[0]) > 0.999
