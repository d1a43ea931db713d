"""What goes wrong in front of a screen, through a real server: a sentence each, or what is documented; and the next run is right.

The graph is the shipped workflow's, made small: one image, 3 steps, 1 iteration of the demo model. What one of the nodes refuses by
itself is in the tests of that node; a reward's folder without tokenizer, and prompts for CLIP Score, are in test_guidance_server.py.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from sgool.harness.client import Graph, RunFailed
from sgool.harness.server import ROOT, Server
from sgool.nodes.saliency import LoadSaliencyModel
from sgool.nodes.settings import OptimizationSettingsNode
from torch import Tensor

from .untouched import as_sent

pytestmark = [pytest.mark.comfyui, pytest.mark.server]
USED = ("model", "saliency_model", "prompt", "positive", "negative", "latent", "objective", "optimized")
_fresh = itertools.count(1)


# Of the iterates the last, whatever came of it, so that one iteration is sure to change the image.
LAST_ITERATE = as_sent(OptimizationSettingsNode.define_schema().inputs) | {
    "iterations": 1,
    "best_of": 1,
    "returned": "last",
    "trust_region": "none",
}
LAST_ITERATE = {name: value for name, value in LAST_ITERATE.items() if not name.startswith("trust_region.")}
PLAIN = {"preset": "balanced", "preset.iterations": 0}


def graph(changes: dict[str, dict[str, Any]] | None = None, nodes: Graph | None = None) -> Graph:
    """The shipped workflow up to the optimized latent, with ``changes`` of inputs (node -> input -> value) and further nodes."""
    shipped = json.loads((ROOT / "workflows" / "api" / "sgool_demo.json").read_text(encoding="utf-8"))
    made: Graph = {name: {"class_type": shipped[name]["class_type"], "inputs": dict(shipped[name]["inputs"])} for name in USED}
    made["latent"]["inputs"]["batch_size"] = 1
    made["optimized"]["inputs"] |= {"steps": 3, **PLAIN, "settings": ["settings", 0]}
    made["settings"] = {"class_type": "SGOOL_Settings", "inputs": dict(LAST_ITERATE)}
    # Without negative prompts this changes nothing but ComfyUI's cache, which would answer a graph that it has seen by itself.
    made["objective"]["inputs"]["w_negative"] = next(_fresh) / 1000
    for name, inputs in (changes or {}).items():
        made[name]["inputs"] |= inputs
    made["save"] = {"class_type": "SaveLatent", "inputs": {"samples": ["optimized", 0], "filename_prefix": "bad_input"}}
    made["history"] = {"class_type": "PreviewAny", "inputs": {"source": ["optimized", 3]}}
    return made | (nodes or {})


def without(name: str, input_: str) -> Graph:
    made = graph()
    del made[name]["inputs"][input_]
    return made


def plainly(made: Graph) -> Graph:
    """The same with core's KSampler, whose output has the place of ours."""
    ours = made["optimized"]["inputs"]
    theirs = {key: value for key, value in ours.items() if key not in (*PLAIN, "objective", "vae", "settings")}
    rest = {name: node for name, node in made.items() if name not in ("objective", "history", "settings", "saliency_model")}
    return rest | {"optimized": {"class_type": "KSampler", "inputs": theirs}}


def latent_of(server: Server, outputs: dict[str, Any], node: str = "save") -> Tensor:
    (file,) = outputs[node]["latents"]
    return safetensors.torch.load(server.fetch(file))["latent_tensor"]


@pytest.fixture(scope="module")
def good(server: Server) -> Tensor:
    """What the graph gives before anything went wrong."""
    return latent_of(server, server.run(graph()))


@pytest.fixture
def assert_next_run_is_right(server: Server, good: Tensor) -> Callable[[], None]:
    def check() -> None:
        executed: list[Any] = []

        def follow(kind: str, data: dict[str, Any]) -> None:
            if kind == "executing":
                executed.append(data.get("node"))

        outputs = server.run(graph(), on_event=follow)
        assert {"objective", "optimized"} <= set(executed)  # not out of the cache
        assert torch.equal(latent_of(server, outputs), good)

    return check


def logged_by(server: Server, run: Callable[[], Any]) -> tuple[Any, str]:
    """What a run returns, and what the server logged meanwhile."""
    before = server.log.stat().st_size
    returned = run()
    return returned, server.log.read_bytes()[before:].decode("utf-8", "replace")


# --- Prompts


def test_words_beyond_what_the_reward_reads_are_cut_off_and_named(server: Server, good: Tensor, assert_next_run_is_right: Any) -> None:
    fits = " ".join(["a small red circle left of a large blue ring"] * 2 + ["and a green"])  # 23 words, of which the reward reads 22
    long = f"{fits} cross and a tiny yellow square"

    def optimize(prompt: str) -> Tensor:
        return latent_of(server, server.run(graph({"objective": {"prompt": prompt}})))

    cut, log = logged_by(server, lambda: optimize(long))
    assert "reward reads 22 tokens of a prompt; these words are left out: green cross and a" in log
    assert torch.equal(cut, optimize(fits))
    assert not torch.equal(cut, good)
    _, log = logged_by(server, lambda: optimize("a red circle"))
    assert "left out" not in log
    assert_next_run_is_right()


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        ({"prompt": " \n\t "}, "The prompt is empty; write what the image is to show."),
        ({"prompt": "(embedding:style:1.2)"}, "The prompt is empty; write what the image is to show."),
        ({"prompt": "\n\n", "prompt_per_line": True}, "The prompt is empty"),
    ],
)
def test_an_empty_prompt_of_the_loss(server: Server, prompts: dict[str, Any], sentence: str, assert_next_run_is_right: Any) -> None:
    assert sentence in server.run_expecting_error(graph({"objective": prompts}))
    assert_next_run_is_right()


def test_empty_prompts_of_the_model_are_fine(server: Server, good: Tensor) -> None:
    """As with any KSampler: without prompts the model draws something."""
    latent = latent_of(server, server.run(graph({"positive": {"text": ""}, "negative": {"text": ""}})))
    assert torch.isfinite(latent).all()
    assert not torch.equal(latent, good)


# --- Batches


@pytest.mark.parametrize(("lines", "batch"), [(2, 1), (3, 2), (2, 3)])
def test_neither_one_prompt_nor_one_for_each(server: Server, lines: int, batch: int, assert_next_run_is_right: Any) -> None:
    prompts = {"prompt": "\n".join(["a red circle", "a blue ring", "a green cross"][:lines]), "prompt_per_line": True}
    message = server.run_expecting_error(graph({"objective": prompts, "latent": {"batch_size": batch}}))
    plural = "images" if batch > 1 else "image"
    assert f"There are {lines} prompts for {batch} {plural}; give one for all images, or one for each." in message
    assert_next_run_is_right()


def test_neither_one_mask_nor_one_for_each(server: Server, assert_next_run_is_right: Any) -> None:
    masks: Graph = {
        "three": {"class_type": "EmptyImage", "inputs": {"width": 40, "height": 24, "batch_size": 3, "color": 0xFFFFFF}},
        "masks": {"class_type": "ImageToMask", "inputs": {"image": ["three", 0], "channel": "red"}},
    }
    message = server.run_expecting_error(graph({"objective": {"mask": ["masks", 0]}, "latent": {"batch_size": 2}}, masks))
    assert "There are 3 masks for 2 images; give one for all images, or one for each." in message
    assert_next_run_is_right()


def test_a_line_and_a_mask_for_each_image(server: Server) -> None:
    """The other side: what the sentences above ask for works, and each image gets its own."""
    masks: Graph = {
        "two": {"class_type": "EmptyImage", "inputs": {"width": 40, "height": 24, "batch_size": 2, "color": 0xFFFFFF}},
        "masks": {"class_type": "ImageToMask", "inputs": {"image": ["two", 0], "channel": "red"}},
    }

    def second(line: str) -> Tensor:
        objective = {"prompt": f"a red circle\n{line}", "prompt_per_line": True, "mask": ["masks", 0]}
        return latent_of(server, server.run(graph({"objective": objective, "latent": {"batch_size": 2}}, masks)))

    ring, cross = second("a blue ring"), second("a green cross")
    assert torch.equal(ring[0], cross[0])
    assert not torch.equal(ring[1], cross[1])


# --- What does not belong together


@pytest.fixture
def of_another_model(server: Server) -> Graph:
    """A latent of 4 channels that is not empty (core adapts empty ones), in the place of the graph's."""
    file: Path = server.base / "input" / "of_another_model.latent"
    numbers = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"latent_tensor": numbers, "latent_format_version_0": torch.tensor([])}, file)
    return {"latent": {"class_type": "LoadLatent", "inputs": {"latent": file.name}}}


WRONG_CHANNELS = "The latent has 4 channels, but this model's latents have 16"


def test_a_latent_of_another_model(server: Server, of_another_model: Graph, assert_next_run_is_right: Any) -> None:
    message = server.run_expecting_error(graph(nodes=of_another_model))
    assert WRONG_CHANNELS in message
    assert "VAE Encode" in message
    assert_next_run_is_right()


def custom(sampler: dict[str, Any], nodes: Graph) -> Graph:
    """The graph with SGOOL Sampler in SamplerCustom."""
    made = graph(nodes=nodes)
    wanted = {key: made["optimized"]["inputs"][key] for key in ("model", "cfg", "positive", "negative", "latent_image")}
    steps = {"model": ["model", 0], "scheduler": "normal", "steps": 3, "denoise": 1.0}
    ours = {key: made["optimized"]["inputs"][key] for key in (*PLAIN, "objective", "vae", "settings")}
    inputs = {"sampler": ["euler", 0], **ours, **sampler}
    del made["history"]
    return made | {
        "euler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "sigmas": {"class_type": "BasicScheduler", "inputs": steps},
        "sampler": {"class_type": "SGOOL_Sampler", "inputs": inputs},
        "optimized": {
            "class_type": "SamplerCustom",
            "inputs": {**wanted, "add_noise": True, "noise_seed": 0, "sampler": ["sampler", 0], "sigmas": ["sigmas", 0]},
        },
    }


def test_a_latent_or_vae_of_another_model_in_the_custom_sampler(
    server: Server, of_another_model: Graph, good: Tensor, assert_next_run_is_right: Any
) -> None:
    assert WRONG_CHANNELS in server.run_expecting_error(custom({}, of_another_model))
    pixels: Graph = {"vae": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}}}
    assert WRONG_VAE in server.run_expecting_error(custom({"vae": ["vae", 0]}, pixels))
    assert torch.equal(latent_of(server, server.run(custom({}, {}))), good)
    assert_next_run_is_right()


def test_an_empty_latent_of_another_model_is_adapted_as_in_core(server: Server, good: Tensor) -> None:
    # The shipped graph's own is one: EmptyLatentImage makes 4 channels, the model has 16.
    assert good.shape == (1, 16, 8, 8)


WRONG_VAE = "This VAE is for latents of 3 channels, the model's have 16. Connect the VAE of this model."


def test_a_vae_of_another_model(server: Server, assert_next_run_is_right: Any) -> None:
    pixels: Graph = {"vae": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}}}
    assert WRONG_VAE in server.run_expecting_error(graph({"optimized": {"vae": ["vae", 0]}}, pixels))
    assert_next_run_is_right()


# --- What is missing, or nothing


def test_no_objective_is_sampled_plainly_and_said(server: Server, assert_next_run_is_right: Any) -> None:
    """What came before has run by then: an error would throw it away."""
    outputs, log = logged_by(server, lambda: server.run(without("optimized", "objective")))
    sentence = "There is no objective (none is connected, or its node is bypassed), so this was sampled plainly"
    assert sentence in outputs["history"]["text"][0]
    assert sentence in outputs["optimized"]["text"][0]
    assert sentence in log
    assert torch.equal(latent_of(server, outputs), latent_of(server, server.run(plainly(graph()))))
    made = custom({}, {})
    del made["sampler"]["inputs"]["objective"]
    made["report"] = {"class_type": "SGOOL_Report", "inputs": {"sampler": ["sampler", 0], "latent": ["optimized", 0]}}
    made["history"] = {"class_type": "PreviewAny", "inputs": {"source": ["report", 2]}}
    assert sentence in server.run(made)["history"]["text"][0]
    assert_next_run_is_right()


@pytest.mark.parametrize("node", ["optimized", "sampler"])
def test_no_vae_is_refused_before_anything_runs(server: Server, node: str, assert_next_run_is_right: Any) -> None:
    made = graph() if node == "optimized" else custom({}, {})
    del made[node]["inputs"]["vae"]
    with pytest.raises(RunFailed, match=r"There is no VAE: the objective judges images.* Connect the VAE of the model\."):
        server.submit(made)  # only queues
    assert_next_run_is_right()


GRAY: Graph = {"paper": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0x808080}}}
INVERTED = {"model": ["model", 0], "sampler": ["solver", 0], "steps": 2, "cfg": 1.0, "scheduler": "normal", "denoise": 1.0}
INVERTED |= {"positive": ["positive", 0], "negative": ["negative", 0]}
SOLVER: Graph = {"solver": {"class_type": "SGOOL_ReversibleSampler", "inputs": {}}}


def sources() -> Graph:
    """What the nodes below may be linked to, and nothing that would run by itself."""
    shipped = graph()
    return GRAY | SOLVER | {name: shipped[name] for name in ("model", "prompt", "positive", "negative", "latent")}


@pytest.mark.parametrize(
    ("kind", "inputs", "sentence"),
    [
        ("SGOOL_LoadSaliencyModel", {"model_name": "u2net"}, "The weights of 'u2net' are not in models/saliency"),
        ("SGOOL_PredictSaliency", {"image": ["paper", 0], "input_size": 31}, "The input size is 31; set it to 0"),
        (
            "SGOOL_PredictSaliency",
            {"image": ["paper", 0], "input_size": 4128},
            "set it to 0 (the predictor's own), or to 32 or more, at most",
        ),
        ("SGOOL_InvertImage", {**INVERTED, "latent": ["latent", 0], "denoise": 2.0}, "Value 2.0 bigger than max of 1.0: denoise"),
        ("SGOOL_DemoJudge", {"images": ["paper", 0], "prompt": " \n"}, "The judge needs the prompt that was asked for"),
        ("SGOOL_InvertImage", INVERTED, "Connect either an image (with the VAE) or a latent."),
        ("SGOOL_InvertImage", {**INVERTED, "image": ["paper", 0], "latent": ["latent", 0]}, "Connect either an image"),
        ("SGOOL_InvertImage", {**INVERTED, "image": ["paper", 0]}, "connect the VAE of the model"),
    ],
)
def test_what_is_known_before_the_run_is_refused_before_it(server: Server, kind: str, inputs: dict[str, Any], sentence: str) -> None:
    wrong: Graph = {
        "wrong": {"class_type": kind, "inputs": inputs},
        "shown": {"class_type": "PreviewAny", "inputs": {"source": ["wrong", 0]}},
    }
    with pytest.raises(RunFailed, match=re.escape(sentence)):
        server.submit(server.with_defaults(sources() | wrong))  # only queues


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"optimized": {"preset": "of tomorrow"}},
            "This version does not have the preset that the workflow asks for. Choose one of: search",
        ),
        ({"settings": {"returned": "of tomorrow"}}, "This version does not have the returned that the workflow asks for. Choose one of: "),
    ],
)
def test_a_choice_of_another_version_is_said(server: Server, changes: dict[str, Any], sentence: str) -> None:
    assert sentence in server.run_expecting_error(graph(changes))


def test_what_is_not_wrong_there_is_not_refused(server: Server) -> None:
    given: list[dict[str, Any]] = [{"latent": ["latent", 0]}, {"image": ["paper", 0], "vae": ["model", 2]}]
    right: list[tuple[str, dict[str, Any]]] = [("SGOOL_InvertImage", {**INVERTED, **each}) for each in given]
    right += [("SGOOL_PredictSaliency", {"image": ["paper", 0], "input_size": 32}), ("SGOOL_DemoJudge", {"images": ["paper", 0]})]
    right += [("SGOOL_LoadSaliencyModel", {})]
    for kind, inputs in right:
        made: Graph = {
            "right": {"class_type": kind, "inputs": inputs},
            "shown": {"class_type": "PreviewAny", "inputs": {"source": ["right", 0]}},
        }
        server.cancel(server.submit(server.with_defaults(sources() | made)))
    assert LoadSaliencyModel.validate_inputs("u2net", True) is True  # not by a run, which would fetch it


def test_a_held_out_objective_that_is_the_objective_itself_is_said(server: Server) -> None:
    outputs = server.run(graph({"optimized": {"held_out": ["objective", 0]}}))
    assert "held_out is the objective itself" in outputs["history"]["text"][0]
    another: Graph = {"another": json.loads(json.dumps(graph()["objective"]))}
    outputs = server.run(graph({"optimized": {"held_out": ["another", 0]}}, another))
    assert "held_out is the objective itself" not in outputs["history"]["text"][0]


def test_no_objective_is_needed_with_zero_iterations(server: Server, assert_next_run_is_right: Any) -> None:
    made = graph({"settings": {"iterations": 0}})
    del made["optimized"]["inputs"]["objective"], made["optimized"]["inputs"]["vae"]
    theirs = latent_of(server, server.run(plainly(graph())))
    assert torch.equal(latent_of(server, server.run(made)), theirs)
    assert_next_run_is_right()


def test_an_objective_of_nothing(server: Server, assert_next_run_is_right: Any) -> None:
    message = server.run_expecting_error(graph({"objective": {"w_global": 0.0, "w_salient": 0.0}}))
    assert "All weights of the loss are zero, so there is nothing to optimize; set w_global or w_salient above zero." in message
    numbers = range(1, 6)
    combined: Graph = {
        "sum": {
            "class_type": "SGOOL_CombineObjectives",
            "inputs": {"objective_1": ["objective", 0], "weights": "factors", **{f"weight_{number}": 0.0 for number in numbers}},
        }
    }
    message = server.run_expecting_error(graph({"optimized": {"objective": ["sum", 0]}}, combined))
    assert "The weights of all objectives are zero, so there is nothing to optimize; set one of them above zero." in message
    assert_next_run_is_right()


def test_zero_steps_are_refused_before_the_run_and_one_is_enough(server: Server, assert_next_run_is_right: Any) -> None:
    message = server.run_expecting_error(graph({"optimized": {"steps": 0}}))
    assert "SGOOL_KSampler: Value 0 smaller than min of 1: steps" in message
    assert torch.isfinite(latent_of(server, server.run(graph({"optimized": {"steps": 1}})))).all()
    assert_next_run_is_right()


def test_denoise_zero_leaves_nothing_to_sample(server: Server, assert_next_run_is_right: Any) -> None:
    made = graph({"optimized": {"denoise": 0.0}})
    outputs = server.run(made)
    assert outputs["history"]["text"] == ["Nothing was sampled."]
    assert torch.equal(latent_of(server, outputs), latent_of(server, server.run(plainly(graph({"optimized": {"denoise": 0.0}})))))
    assert_next_run_is_right()


# --- Masks


LEFT_HALF: Graph = {
    # Of no size that anything else in the graph has.
    "nothing": {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 100, "height": 36}},
    "half": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 50, "height": 36}},
    "mask": {
        "class_type": "MaskComposite",
        "inputs": {"destination": ["nothing", 0], "source": ["half", 0], "x": 0, "y": 0, "operation": "add"},
    },
    "paper": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0x808080}},
    "encoded": {"class_type": "VAEEncode", "inputs": {"pixels": ["paper", 0], "vae": ["model", 2]}},
    "latent": {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["encoded", 0], "mask": ["mask", 0]}},
    "before": {"class_type": "SaveLatent", "inputs": {"samples": ["encoded", 0], "filename_prefix": "bad_input_before"}},
}


def test_an_inpaint_mask_of_another_size_is_resized_as_in_core(server: Server, assert_next_run_is_right: Any) -> None:
    outputs = server.run(graph({"objective": {"mask": ["mask", 0]}}, LEFT_HALF))
    before, after = latent_of(server, outputs, "before"), latent_of(server, outputs)
    assert torch.allclose(after[..., 4:], before[..., 4:], atol=1e-4)
    plain = latent_of(server, server.run(plainly(graph(nodes=LEFT_HALF))))
    assert torch.allclose(plain[..., 4:], before[..., 4:], atol=1e-4)
    assert float((after - plain)[..., :4].abs().max()) > 1e-2
    unchanged = latent_of(server, server.run(graph({"settings": {"iterations": 0}}, LEFT_HALF)))
    assert torch.equal(unchanged, plain)
    assert_next_run_is_right()


def test_an_empty_mask_of_the_loss(server: Server, assert_next_run_is_right: Any) -> None:
    empty: Graph = {"mask": {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 30, "height": 20}}}
    message = server.run_expecting_error(graph({"objective": {"mask": ["mask", 0]}}, empty))
    assert "The mask is empty: nothing in it is above zero, so nothing is salient. Paint the part that matters." in message
    assert_next_run_is_right()


# --- Canceling


def test_after_an_interrupted_run_the_next_one_is_right(server: Server, assert_next_run_is_right: Any) -> None:
    seen = 0

    def cancel(kind: str, data: dict[str, Any]) -> None:
        nonlocal seen
        if kind == "progress" and data.get("node") == "optimized":
            seen += 1
            if seen == 10:  # in the midst of an iteration: sampling once, and once with its backward, is 6 calls of the model
                server.interrupt()

    with pytest.raises(RunFailed, match="interrupted") as failure:
        server.run(graph({"settings": {"iterations": 500}}), on_event=cancel)
    assert failure.value.interrupted
    assert failure.value.node_id == "optimized"
    assert seen < 40
    assert_next_run_is_right()
