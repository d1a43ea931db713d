"""The saliency nodes in a real ComfyUI: called directly, and in graphs through the server."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from sgool.comfy_bridge import saliency as bridge
from sgool.nodes import saliency as nodes
from sgool.saliency_models import registry
from skimage import data
from torch import Tensor

pytestmark = pytest.mark.comfyui

PREDICT = {
    "input_size": 0,
    "normalization": "as predicted",
    "blur": 0.0,
    "threshold": 0.0,
    "centre_prior": 0.0,
    "colour_map": "inferno",
}
OVERLAY = {"colour_map": "viridis", "opacity": 0.6, "fade": True, "contours": 3, "legend": True}


def image(name: str = "chelsea") -> Tensor:
    return torch.from_numpy(getattr(data, name)()).float()[None] / 255


def predict(picture: Tensor, **changes: Any) -> tuple[Tensor, Tensor]:
    mask, heatmap = nodes.PredictSaliency.execute(image=picture, **{**PREDICT, **changes}).args
    return mask, heatmap


def test_the_mask_is_the_predictors_map() -> None:
    picture = image()
    mask, heatmap = predict(picture)
    assert mask.shape == (1, 300, 451)
    assert heatmap.shape == (1, 300, 451, 3)
    assert torch.equal(mask, registry.load("default")(picture.movedim(-1, 1))[:, 0])
    assert 0 <= heatmap.min() <= heatmap.max() <= 1


def test_it_runs_in_inference_mode_as_core_runs_nodes() -> None:
    with torch.inference_mode():
        mask, _ = predict(image())
    assert float(mask.max()) > 0.9


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_and_rgba_pictures_and_batches(channels: int) -> None:
    picture = torch.rand(3, 20, 30, channels, generator=torch.Generator().manual_seed(0))
    assert predict(picture)[0].shape == (3, 20, 30)


def test_more_pictures_than_fit_a_chunk_are_each_predicted() -> None:
    pictures = torch.rand(2 * bridge.CHUNK + 1, 16, 24, 3, generator=torch.Generator().manual_seed(0))
    mask, _ = predict(pictures)
    torch.testing.assert_close(mask[-1:], predict(pictures[-1:])[0], atol=1e-5, rtol=1e-4)


def test_the_widgets_do_what_they_say() -> None:
    picture = image()
    plain, _ = predict(picture)
    assert set(predict(picture, threshold=0.5)[0].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(predict(picture, threshold=0.5)[0] > 0, plain > 0.5)
    stretched, _ = predict(picture, normalization="range")
    assert float(stretched.min()) == 0
    assert float(stretched.max()) == 1
    assert float(predict(picture, normalization="maximum")[0].max()) == 1
    assert float(predict(picture, blur=20.0)[0].max()) < float(plain.max())
    centred, _ = predict(picture, centre_prior=1.0)
    assert float(centred[0, 0, 0]) < 0.1 * float(plain[0, 0, 0])
    assert not torch.equal(predict(picture, input_size=256)[0], plain)


def test_a_flat_picture_gives_a_finite_mask_whatever_the_normalization() -> None:
    for how in nodes.NORMALIZATIONS:
        assert torch.isfinite(predict(torch.full((1, 16, 16, 3), 0.5), normalization=how)[0]).all()


def test_every_weight_free_predictor_loads_by_name_and_predicts() -> None:
    picture = image("coffee")
    for entry in registry.available():
        if entry.weights is not None:
            continue
        for size in (0, 64):
            mask, _ = predict(picture, saliency_model=load(entry.name), input_size=size)
            assert torch.isfinite(mask).all()


def load(name: str, **changes: Any) -> bridge.SaliencyPredictor:
    widgets = {"download_if_missing": False, "dtype": "as in the file", "channel_order": "default", "domain": "default"}
    (predictor,) = nodes.LoadSaliencyModel.execute(model_name=name, **{**widgets, **changes}).args
    return predictor


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (torch.zeros(0, 8, 8, 3), "batch is empty"),
        (torch.full((1, 8, 8, 3), float("nan")), "NaN or infinite pixels"),
        (torch.zeros(1, 8, 8, 2), "1 or 3 or 4 channels"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(picture: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        predict(picture)


def test_a_picture_of_nans_does_not_end_the_others_of_an_optimisation() -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pictures[1, 0, 0, 0] = float("nan")
    pictures.requires_grad_()
    maps = bridge.default_predictor()(pictures)
    assert torch.isfinite(maps[0]).all()
    assert torch.isnan(maps[1]).all()
    (gradient,) = torch.autograd.grad(maps[0].sum(), pictures)
    assert torch.isfinite(gradient).all()


def test_the_gradient_is_the_librarys() -> None:
    pictures = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.linspace(0, 1, 32)
    (expected,) = torch.autograd.grad((registry.load("default")(pictures) * weights).sum(), pictures)
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        (found,) = torch.autograd.grad((bridge.default_predictor()(pictures) * weights).sum(), pictures)
    torch.testing.assert_close(found, expected)


# Files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models/saliency."""
    known = folder_paths.folder_names_and_paths["saliency"][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "saliency", ([str(tmp_path)], known))
    return tmp_path


def test_the_folder_is_added_to_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "saliency", ([str(tmp_path)], {".onnx"}))
    nodes.register_saliency()
    nodes.register_saliency()
    paths, extensions = folder_paths.folder_names_and_paths["saliency"]
    assert paths[0] == str(tmp_path)
    assert len(paths) == 2
    assert extensions == {".onnx", ".safetensors", ".pth", ".pt"}


def test_missing_weights_say_where_to_get_them(folder: Path) -> None:
    for entry in registry.available():
        if entry.weights is not None:
            with pytest.raises(ValueError, match="models/saliency") as raised:
                load(entry.name)
            assert entry.weights.where in str(raised.value)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_damaged_and_foreign_and_dangerous_files_get_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "cut.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    (folder / "evil.pth").write_bytes(pickle.dumps({"weight": Evil()}))
    torch.save({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2)}, folder / "unet.pt")
    with pytest.raises(ValueError, match=r"cut\.safetensors.*(truncated|no saliency predictor)"):
        load("cut.safetensors")
    with pytest.raises(ValueError, match=r"evil\.pth.*refused|evil\.pth.*not loaded"):
        load("evil.pth")
    assert not (folder / "ran").exists()
    with pytest.raises(ValueError, match=r"unet\.pt holds the weights of no saliency predictor.*transalnet"):
        load("unet.pt")


def test_options_of_another_predictor_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'default' does not have all of these options: domain"):
        load("default", domain="DHF1K")


# Overlay and comparison


def test_the_overlay_takes_masks_of_other_sizes_and_batches() -> None:
    picture = image("astronaut")
    (drawn,) = nodes.SaliencyOverlay.execute(image=picture, mask=torch.rand(1, 7, 5), **OVERLAY).args
    assert drawn.shape == picture.shape
    (drawn,) = nodes.SaliencyOverlay.execute(image=picture, mask=torch.rand(3, 7, 5), **OVERLAY).args
    assert drawn.shape == (3, *picture.shape[1:])
    untouched = {**OVERLAY, "opacity": 0.0, "contours": 0, "legend": False}
    assert torch.equal(nodes.SaliencyOverlay.execute(image=picture, mask=torch.rand(1, 7, 5), **untouched).args[0], picture)
    with pytest.raises(ValueError, match="3 masks for 2 pictures"):
        nodes.SaliencyOverlay.execute(image=picture.repeat(2, 1, 1, 1), mask=torch.rand(3, 7, 5), **OVERLAY)
    with pytest.raises(ValueError, match="NaN"):
        nodes.SaliencyOverlay.execute(image=picture, mask=torch.full((1, 7, 5), math.nan), **OVERLAY)


def compare(saliency: Tensor, **changes: Any) -> dict[str, Any]:
    found = nodes.CompareSaliency.execute(saliency=saliency, **{"baseline": "centre prior", **changes}).args
    return dict(zip(("report", "picture", *nodes.METRICS), found, strict=True))


def test_a_map_compared_with_itself_and_with_its_peak() -> None:
    mask, _ = predict(image())
    found = compare(mask, reference=mask, image=image())
    assert found["CC"] == pytest.approx(1)
    assert found["SIM"] == pytest.approx(1)
    assert found["KLD"] == pytest.approx(0, abs=1e-6)
    assert math.isnan(found["NSS"])
    assert "needs fixations" in found["report"]
    assert found["picture"].shape[0] == 1
    row, column = divmod(int(mask[0].argmax()), mask.shape[-1])
    found = compare(mask, fixations=f"# the peak\n{column}, {row}\n{column} {row}\n")
    assert found["NSS"] > 2
    assert found["AUC-Judd"] == pytest.approx(1)
    assert math.isnan(found["sAUC"])
    points = torch.zeros_like(mask)
    points[0, row, column] = 1
    assert compare(mask, fixation_mask=points)["NSS"] == pytest.approx(found["NSS"])


def test_a_batch_gives_the_shuffled_auc() -> None:
    mask = torch.cat([predict(image())[0], predict(image().flip(2))[0]])
    found = compare(mask, fixations="180,95\n---\n270,95", reference=mask[:1, ::2, ::2])
    assert math.isfinite(found["sAUC"])
    assert "fixations" in found["report"]
    assert compare(mask[:1], fixations="180,95", other_fixations="10,10\n20,290")["sAUC"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "nothing to compare"),
        ({"fixations": "5,600"}, "outside.*row .y. 600"),
        ({"fixations": "five,six"}, "Line 1 of the fixations is 'five,six'"),
        ({"fixations": "1,1\n---\n2,2"}, "fixations for 2 pictures"),
        ({"fixations": "1,1", "fixation_mask": torch.zeros(1, 30, 40)}, "disconnect the mask"),
        ({"fixation_mask": torch.zeros(1, 3, 4)}, "fixation mask is 4 x 3, the saliency map 40 x 30"),
        ({"reference": torch.zeros(2, 3, 4)}, "2 reference maps for 1 pictures"),
        ({"reference": torch.full((1, 30, 40), math.nan)}, "NaN or infinite"),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        compare(torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0)), **given)
