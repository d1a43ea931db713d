"""The check of a model's gradient through a real server, with another pack's node beside ours and with core's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sgool.harness.client import Graph
from sgool.harness.server import Server

from .test_bad_input import graph

pytestmark = [pytest.mark.comfyui, pytest.mark.server, pytest.mark.slow]
PACK = """
class Detach:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "patch", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "detach": ("BOOLEAN", {"default": True})}}

    def patch(self, model, detach):
        def call(apply, given):
            x = given["input"]
            return apply(x.detach() if detach else x, given["timestep"], **given["c"])

        model = model.clone()
        model.set_model_unet_function_wrapper(call)
        return (model,)


NODE_CLASS_MAPPINGS = {"Detach": Detach}
"""


@pytest.fixture(scope="module")
def server(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("two packs")
    pack = base / "custom_nodes" / "ComfyUI-Detach"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK)
    with Server(comfyui, base) as started:
        yield started


def history(server: Server, patch: Graph) -> str:
    made = graph(nodes=patch)
    made["optimized"]["inputs"]["model"] = ["patch", 0]
    (text,) = server.run(made)["history"]["text"]
    return str(text)


def test_another_packs_node_is_named_and_cores_is_not(server: Server) -> None:
    detached = history(server, {"patch": {"class_type": "Detach", "inputs": {"model": ["model", 0], "detach": True}}})
    assert "does not agree with the model's own slope" in detached
    assert "(here: ComfyUI-Detach)" in detached
    core = history(server, {"patch": {"class_type": "RescaleCFG", "inputs": {"model": ["model", 0], "multiplier": 0.7}}})
    assert "slope" not in core
