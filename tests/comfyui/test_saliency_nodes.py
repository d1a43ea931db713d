"""The saliency nodes in a real ComfyUI: called directly, and in graphs through the server."""

from __future__ import annotations

import http.server
import math
import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from sgool.comfy_bridge import saliency as bridge
from sgool.nodes import saliency as nodes
from sgool.saliency_models import entries, registry
from sgool.saliency_models.u2net import U2Net
from skimage import data
from torch import Tensor

pytestmark = pytest.mark.comfyui

PREDICT = {
    "input_size": 0,
    "normalization": "as predicted",
    "blur": 0.0,
    "threshold": 0.0,
    "center_prior": 0.0,
    "color_map": "inferno",
}
LOAD = {"download_if_missing": False, "dtype": "as in the file", "channel_order": "default", "domain": "default"}
OVERLAY = {"color_map": "viridis", "opacity": 0.6, "fade": True, "contours": 3, "legend": True}


def photo(name: str = "chelsea") -> Tensor:
    return torch.from_numpy(getattr(data, name)()).float()[None] / 255


def predict(image: Tensor, **changes: Any) -> tuple[Tensor, Tensor]:
    mask, heatmap = nodes.PredictSaliency.execute(image=image, **{**PREDICT, **changes}).args
    return mask, heatmap


def test_the_mask_is_the_predictors_map() -> None:
    image = photo()
    mask, heatmap = predict(image)
    assert mask.shape == (1, 300, 451)
    assert heatmap.shape == (1, 300, 451, 3)
    assert torch.equal(mask, registry.load("default")(image.movedim(-1, 1))[:, 0])
    assert 0 <= heatmap.min() <= heatmap.max() <= 1


def test_it_runs_in_inference_mode_as_core_runs_nodes() -> None:
    with torch.inference_mode():
        mask, _ = predict(photo())
    assert float(mask.max()) > 0.9


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gray_and_rgba_images_and_batches(channels: int) -> None:
    image = torch.rand(3, 20, 30, channels, generator=torch.Generator().manual_seed(0))
    assert predict(image)[0].shape == (3, 20, 30)


def test_more_images_than_fit_a_chunk_are_each_predicted() -> None:
    images = torch.rand(2 * bridge.CHUNK + 1, 16, 24, 3, generator=torch.Generator().manual_seed(0))
    mask, _ = predict(images)
    torch.testing.assert_close(mask[-1:], predict(images[-1:])[0], atol=1e-5, rtol=1e-4)


def test_the_widgets_do_what_they_say() -> None:
    image = photo()
    plain, _ = predict(image)
    assert set(predict(image, threshold=0.5)[0].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(predict(image, threshold=0.5)[0] > 0, plain > 0.5)
    stretched, _ = predict(image, normalization="range")
    assert float(stretched.min()) == 0
    assert float(stretched.max()) == 1
    assert float(predict(image, normalization="maximum")[0].max()) == 1
    assert float(predict(image, blur=20.0)[0].max()) < float(plain.max())
    centered, _ = predict(image, center_prior=1.0)
    assert float(centered[0, 0, 0]) < 0.1 * float(plain[0, 0, 0])
    assert not torch.equal(predict(image, input_size=256)[0], plain)


def test_a_flat_image_gives_a_finite_mask_whatever_the_normalization() -> None:
    for how in nodes.NORMALIZATIONS:
        assert torch.isfinite(predict(torch.full((1, 16, 16, 3), 0.5), normalization=how)[0]).all()


def test_every_weight_free_predictor_loads_by_name_and_predicts() -> None:
    image = photo("coffee")
    for entry in registry.available():
        if entry.weights is not None:
            continue
        for size in (0, 64):
            mask, _ = predict(image, saliency_model=load(entry.name), input_size=size)
            assert torch.isfinite(mask).all()


def load(name: str, **changes: Any) -> bridge.SaliencyPredictor:
    (predictor,) = nodes.LoadSaliencyModel.execute(model_name=name, **{**LOAD, **changes}).args
    return predictor


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (torch.zeros(0, 8, 8, 3), "batch is empty"),
        (torch.full((1, 8, 8, 3), float("nan")), "NaN or infinite pixels"),
        (torch.full((1, 8, 8, 3), math.inf), "NaN or infinite pixels"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), "floats in"),
        (torch.zeros(1, 8, 8, 2), "1 or 3 or 4 channels"),
    ],
)
def test_what_is_no_image_gets_a_sentence(image: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        predict(image)


def test_a_image_of_nans_does_not_end_the_others_of_an_optimization() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[1, 0, 0, 0] = float("nan")
    images.requires_grad_()
    maps = bridge.default_predictor()(images)
    assert torch.isfinite(maps[0]).all()
    assert torch.isnan(maps[1]).all()
    (gradient,) = torch.autograd.grad(maps[0].sum(), images)
    assert torch.isfinite(gradient).all()


def test_the_gradient_is_the_librarys() -> None:
    images = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.linspace(0, 1, 32)
    (expected,) = torch.autograd.grad((registry.load("default")(images) * weights).sum(), images)
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        (found,) = torch.autograd.grad((bridge.default_predictor()(images) * weights).sum(), images)
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


# Learned predictors, on weights drawn at random: their parity with the published networks is tested beside each of them


def random_weights() -> dict[str, Tensor]:
    """A state dict of U2-NetP, the smallest learned predictor (1.1 M parameters)."""
    generator = torch.Generator().manual_seed(0)
    state = U2Net("u2netp").state_dict()
    for key, value in state.items():
        if key.endswith(".bias"):
            state[key] = 0.1 * torch.randn(value.shape, generator=generator)
        elif value.dim() == 4:
            state[key] = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
    return state


@pytest.fixture
def u2netp(folder: Path) -> Path:
    safetensors.torch.save_file(random_weights(), folder / "renamed.safetensors")
    return folder


@pytest.mark.parametrize("choice", ["renamed.safetensors", "u2netp"])
def test_a_file_is_recognized_by_its_keys(u2netp: Path, choice: str) -> None:
    assert "renamed.safetensors" in bridge.choices()
    predictor = load(choice)
    assert predictor.name == "u2netp"
    expected = registry.load("u2netp", random_weights())(photo().movedim(-1, 1))
    torch.testing.assert_close(predict(photo(), saliency_model=predictor)[0], expected[:, 0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 0.01), ("bf16", 0.08), ("fp32", 1e-5)])
def test_weights_are_kept_in_the_chosen_type(u2netp: Path, dtype: str, tolerance: float) -> None:
    with torch.inference_mode():
        predictor = load("u2netp", dtype=dtype)
        found, _ = predict(photo(), saliency_model=predictor)
    assert {parameter.dtype for parameter in predictor.model.parameters() if parameter.dim() > 1} == {bridge.DTYPES[dtype]}
    expected = registry.load("u2netp", random_weights())(photo().movedim(-1, 1))
    assert float((found - expected[:, 0]).abs().mean()) < tolerance


def test_gradients_flow_through_weights_that_core_moved_in_inference_mode(u2netp: Path) -> None:
    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        predictor = load("u2netp")
        predict(image.movedim(1, -1), saliency_model=predictor)
        assert any(loaded.model is predictor.patcher for loaded in comfy.model_management.current_loaded_models)
        comfy.model_management.unload_all_models()
    assert not any(loaded.model is predictor.patcher for loaded in comfy.model_management.current_loaded_models)
    weights = torch.linspace(0, 1, 48)
    gradients = []
    for predict_maps in (predictor, registry.load("u2netp", random_weights())):
        leaf = image.clone().requires_grad_()
        gradients.append(torch.autograd.grad((predict_maps(leaf) * weights).mean(), leaf)[0])
    assert float(gradients[1].abs().max()) > 0
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-7, rtol=1e-3)


def test_missing_weights_are_fetched_only_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    content = safetensors.torch.save(random_weights())
    stand_in = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=stand_in.serve_forever, daemon=True).start()
    entry = registry.find("u2netp")
    assert entry.weights is not None
    remote = entries.RemoteFile("u2netp.safetensors", f"http://127.0.0.1:{stand_in.server_port}/u2netp", len(content))
    offered = replace(entry, weights=replace(entry.weights, filename="u2netp.safetensors", remote=(remote,)))
    monkeypatch.setattr(registry, "find", lambda name: offered)
    try:
        with pytest.raises(ValueError, match="Switch download_if_missing on"):
            load("u2netp")
        assert list(folder.iterdir()) == []
        assert load("u2netp", download_if_missing=True).name == "u2netp"
    finally:
        stand_in.shutdown()
        stand_in.server_close()
    assert [file.name for file in folder.iterdir()] == ["u2netp.safetensors"]
    assert load("u2netp").name == "u2netp"


def test_another_input_size_shares_the_weights(u2netp: Path) -> None:
    predictor = load("u2netp")
    plain, _ = predict(photo(), saliency_model=predictor)
    larger, _ = predict(photo(), saliency_model=predictor, input_size=480)
    assert not torch.equal(plain, larger)
    assert torch.equal(plain, predict(photo(), saliency_model=predictor)[0])
    twin = predictor.at_size(480, (300, 451))
    assert twin.patcher is predictor.patcher
    assert next(twin.model.parameters()) is next(predictor.model.parameters())
    everywhere = predictor.without_center()  # it has no center prior that could be left out
    assert (everywhere.patcher, everywhere.model) == (predictor.patcher, predictor.model)


# Overlay and comparison


def test_the_overlay_takes_masks_of_other_sizes_and_batches() -> None:
    image = photo("astronaut")
    (drawn,) = nodes.SaliencyOverlay.execute(image=image, mask=torch.rand(1, 7, 5), **OVERLAY).args
    assert drawn.shape == image.shape
    (drawn,) = nodes.SaliencyOverlay.execute(image=image, mask=torch.rand(3, 7, 5), **OVERLAY).args
    assert drawn.shape == (3, *image.shape[1:])
    untouched = {**OVERLAY, "opacity": 0.0, "contours": 0, "legend": False}
    assert torch.equal(nodes.SaliencyOverlay.execute(image=image, mask=torch.rand(1, 7, 5), **untouched).args[0], image)
    with pytest.raises(ValueError, match="3 masks for 2 images"):
        nodes.SaliencyOverlay.execute(image=image.repeat(2, 1, 1, 1), mask=torch.rand(3, 7, 5), **OVERLAY)
    with pytest.raises(ValueError, match="NaN"):
        nodes.SaliencyOverlay.execute(image=image, mask=torch.full((1, 7, 5), math.nan), **OVERLAY)


def compare(saliency: Tensor, **changes: Any) -> dict[str, Any]:
    found = nodes.CompareSaliency.execute(saliency=saliency, **{"baseline": "center prior", **changes}).args
    return dict(zip(("report", "image", *nodes.METRICS), found, strict=True))


def test_a_map_compared_with_itself_and_with_its_peak() -> None:
    mask, _ = predict(photo())
    found = compare(mask, reference=mask, image=photo())
    assert found["CC"] == pytest.approx(1)
    assert found["SIM"] == pytest.approx(1)
    assert found["KLD"] == pytest.approx(0, abs=1e-6)
    assert math.isnan(found["NSS"])
    assert "needs fixations" in found["report"]
    assert found["image"].shape[0] == 1
    row, column = divmod(int(mask[0].argmax()), mask.shape[-1])
    found = compare(mask, fixations=f"# the peak\n{column}, {row}\n{column} {row}\n")
    assert found["NSS"] > 2
    assert found["AUC-Judd"] == pytest.approx(1)
    assert math.isnan(found["sAUC"])
    points = torch.zeros_like(mask)
    points[0, row, column] = 1
    assert compare(mask, fixation_mask=points)["NSS"] == pytest.approx(found["NSS"])


def test_a_batch_gives_the_shuffled_auc() -> None:
    mask = torch.cat([predict(photo())[0], predict(photo().flip(2))[0]])
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
        ({"fixations": "1,1\n---\n2,2"}, "fixations for 2 images"),
        ({"fixations": "1,1", "fixation_mask": torch.zeros(1, 30, 40)}, "disconnect the mask"),
        ({"fixation_mask": torch.zeros(1, 3, 4)}, "fixation mask is 4 x 3, the saliency map 40 x 30"),
        ({"reference": torch.zeros(2, 3, 4)}, "2 reference maps for 1 images"),
        ({"reference": torch.full((1, 30, 40), math.nan)}, "NaN or infinite"),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        compare(torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0)), **given)


# Through the server


def photograph(server: Any, name: str) -> str:
    """Put a photograph into the server's input folder and return its name."""
    file = f"sgool_{name}.png"
    Image.fromarray(getattr(data, name)()).save(server.base / "input" / file)
    return file


def a_prediction(server: Any, **changes: Any) -> dict[str, Any]:
    """A graph whose node 2 predicts the saliency of the cat."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": photograph(server, "chelsea")}},
        "2": {"class_type": "SGOOL_PredictSaliency", "inputs": {"image": ["1", 0], **PREDICT, **changes}},
    }


@pytest.mark.server
def test_the_map_goes_through_core_mask_nodes_into_a_latent_mask(server: Any) -> None:
    graph = a_prediction(server) | {
        "3": {"class_type": "ThresholdMask", "inputs": {"mask": ["2", 0], "value": 0.5}},
        "4": {"class_type": "GrowMask", "inputs": {"mask": ["3", 0], "expand": 6, "tapered_corners": True}},
        "5": {"class_type": "FeatherMask", "inputs": {"mask": ["4", 0], "left": 4, "top": 4, "right": 4, "bottom": 4}},
        "6": {"class_type": "InvertMask", "inputs": {"mask": ["5", 0]}},
        "7": {"class_type": "MaskToImage", "inputs": {"mask": ["4", 0]}},
        "8": {"class_type": "PreviewImage", "inputs": {"images": ["7", 0]}},
        "9": {"class_type": "EmptyLatentImage", "inputs": {"width": 448, "height": 296, "batch_size": 1}},
        "10": {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["9", 0], "mask": ["6", 0]}},
        "11": {"class_type": "LatentCompositeMasked", "inputs": {
            "destination": ["10", 0], "source": ["9", 0], "x": 0, "y": 0, "resize_source": False, "mask": ["2", 0]}},
        "12": {"class_type": "SaveLatent", "inputs": {"samples": ["11", 0], "filename_prefix": "saliency"}},
        "13": {"class_type": "MaskPreview", "inputs": {"mask": ["2", 0]}},
        "14": {"class_type": "PreviewImage", "inputs": {"images": ["2", 1]}},
    }  # fmt: skip
    outputs = server.run(graph)
    grown = np.asarray(server.view(outputs["8"]["images"][0]).convert("L")) > 127
    expected = registry.load("default")(photo().movedim(-1, 1))[0, 0].numpy() > 0.5
    assert grown.shape == (300, 451)
    assert grown[expected].all()
    assert expected.sum() < grown.sum() < 0.5 * grown.size
    assert outputs["12"]["latents"]
    assert server.view(outputs["14"]["images"][0]).size == (451, 300)


@pytest.mark.server
def test_models_overlays_and_comparisons_chain(server: Any) -> None:
    graph = a_prediction(server) | {
        "3": {"class_type": "SGOOL_LoadSaliencyModel", "inputs": {"model_name": "image-signature", **LOAD}},
        "4": {"class_type": "SGOOL_SaliencyOverlay", "inputs": {"image": ["1", 0], "mask": ["2", 0], **OVERLAY}},
        "5": {"class_type": "SGOOL_CompareSaliency", "inputs": {
            "saliency": ["2", 0], "reference": ["6", 0], "fixations": "180,95\n270,100", "baseline": "uniform", "image": ["1", 0]}},
        "6": {"class_type": "SGOOL_PredictSaliency", "inputs": {"image": ["1", 0], "saliency_model": ["3", 0], **PREDICT}},
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}},
        "8": {"class_type": "PreviewImage", "inputs": {"images": ["5", 1]}},
    }  # fmt: skip
    outputs = server.run(graph)
    report = outputs["5"]["text"][0]
    assert "CC" in report
    assert "2 fixations" in report
    assert server.view(outputs["7"]["images"][0]).size == (451, 300)
    assert server.view(outputs["8"]["images"][0]).size[0] == 2 * 451 + 4


@pytest.mark.server
def test_only_what_people_look_at_is_sampled_anew(server: Any) -> None:
    """Inpainting with the demo model: outside the mask the latent stays as it was."""

    def latent(name: str) -> Tensor:
        (file,) = outputs[name]["latents"]
        return safetensors.torch.load(server.fetch(file))["latent_tensor"]

    graph = a_prediction(server) | {
        "3": {"class_type": "SGOOL_LoadDemoModel", "inputs": {}},
        "4": {"class_type": "ImageScale", "inputs": {
            "image": ["1", 0], "upscale_method": "area", "width": 64, "height": 64, "crop": "center"}},
        "5": {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["3", 2]}},
        "6": {"class_type": "SGOOL_PredictSaliency", "inputs": {"image": ["4", 0], **PREDICT, "threshold": 0.3}},
        "7": {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["5", 0], "mask": ["6", 0]}},
        "8": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": ["3", 1]}},
        "9": {"class_type": "KSampler", "inputs": {
            "model": ["3", 0], "positive": ["8", 0], "negative": ["8", 0], "latent_image": ["7", 0],
            "seed": 1, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}},
        "10": {"class_type": "SaveLatent", "inputs": {"samples": ["5", 0], "filename_prefix": "saliency_before"}},
        "11": {"class_type": "SaveLatent", "inputs": {"samples": ["9", 0], "filename_prefix": "saliency_after"}},
        "12": {"class_type": "MaskToImage", "inputs": {"mask": ["6", 0]}},
        "13": {"class_type": "PreviewImage", "inputs": {"images": ["12", 0]}},
    }  # fmt: skip
    outputs = server.run(graph)
    change = (latent("11") - latent("10")).abs().mean(1)[0]
    mask = torch.from_numpy(np.array(server.view(outputs["13"]["images"][0]).convert("L"))).float() / 255
    share = torch.nn.functional.adaptive_avg_pool2d(mask[None, None], change.shape)[0, 0]
    assert float(change[share == 0].max()) < 1e-4
    assert float(change[share == 1].min()) > 1e-2


@pytest.mark.server
def test_the_server_survives_bad_input(server: Any) -> None:
    folder = server.base / "models" / "saliency"
    folder.mkdir(parents=True, exist_ok=True)
    cut, strange = folder / "cut.pth", folder / "strange.pth"
    cut.write_bytes(b"PK\x03\x04 not all of it")
    torch.save({"weight": torch.zeros(1)}, strange)

    def loading(name: str) -> dict[str, Any]:
        graph = a_prediction(server)
        graph["2"]["inputs"]["saliency_model"] = ["3", 0]
        graph["3"] = {"class_type": "SGOOL_LoadSaliencyModel", "inputs": {"model_name": name, **LOAD}}
        graph["4"] = {"class_type": "MaskPreview", "inputs": {"mask": ["2", 0]}}
        return graph

    try:
        assert "truncated or damaged" in server.run_expecting_error(loading("cut.pth"))
        assert "no saliency predictor" in server.run_expecting_error(loading("strange.pth"))
        assert "github.com/LJOVO/TranSalNet" in server.run_expecting_error(loading("transalnet-resnet50"))
    finally:
        cut.unlink()
        strange.unlink()
    outside = a_prediction(server) | {
        "5": {"class_type": "SGOOL_CompareSaliency", "inputs": {"saliency": ["2", 0], "fixations": "9000,1", "baseline": "uniform"}}
    }
    assert "lie outside" in server.run_expecting_error(outside)
    assert server.run(loading("graph-based"))["4"]["images"]


@pytest.mark.server
@pytest.mark.parametrize("node", nodes.NODES, ids=lambda node: node.define_schema().node_id)
def test_every_node_explains_itself(server: Any, node: Any) -> None:
    schema = node.define_schema()
    assert schema.node_id in server.object_info(schema.node_id)["name"]
    assert len(schema.description) > 40
    assert schema.search_aliases
    assert all(socket.tooltip for socket in (*schema.inputs, *schema.outputs))
    page = Path(nodes.__file__).parent.parent / "web" / "docs" / f"{schema.node_id}.md"
    text = page.read_text(encoding="utf-8")
    for socket in schema.inputs:
        assert f"`{socket.id}`" in text
