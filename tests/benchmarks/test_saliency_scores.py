"""The scores of saliency predictors: read, and matched by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from sgool.benchmarks import saliency_scores
from sgool.saliency_models.center_prior import central_gaussian
from sgool.saliency_models.drawing import to_pil


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two images with maps, and a third map without: all are central Gaussians, the third a narrow one."""
    images, maps = tmp_path / "images", tmp_path / "maps"
    for folder in (images, maps):
        folder.mkdir()
    for number, sigma in enumerate((0.18, 0.18, 0.10)):
        to_pil(central_gaussian((60, 80), torch.zeros(()), sigma)[0].expand(3, -1, -1)).save(maps / f"{number}.png")
        if number < 2:
            to_pil(torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(number))).save(images / f"{number}.png")
    return images, maps


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["saliency_scores", *map(str, arguments)])
    saliency_scores.main()
    return capsys.readouterr().out


def test_images_and_maps_meet_by_name(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(monkeypatch, capsys, "--images", folders[0], "--maps", folders[1], "--models", "center-prior")
    assert out.startswith("2 images")
    cc = float(out.split("| center-prior | ")[1].split(" ")[0])
    assert cc > 0.999
