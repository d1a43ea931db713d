"""The ComfyUI that the other tests stand on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.comfyui


def test_comfy_imports_on_the_cpu(comfyui: Path) -> None:
    import comfy.model_management
    import comfy.samplers
    import folder_paths

    assert comfy.model_management.get_torch_device().type == "cpu"
    assert "euler" in comfy.samplers.KSampler.SAMPLERS
    assert not Path(folder_paths.base_path).is_relative_to(comfyui)


def test_torchaudio_can_be_looked_for_as_transformers_does(comfyui: Path) -> None:
    import torchaudio

    assert importlib.util.find_spec("torchaudio") is not None
    assert torchaudio.__spec__ is not None


def test_the_pack_lists_its_nodes(comfyui: Path) -> None:
    import asyncio

    import sgool

    async def listed() -> list[type]:
        extension = await sgool.comfy_entrypoint()
        return await extension.get_node_list()

    nodes = asyncio.run(listed())
    ids = [node.define_schema().node_id for node in nodes]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("SGOOL_") for name in ids)
