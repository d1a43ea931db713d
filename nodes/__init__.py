"""The nodes of the pack, one file per family. A node checks its inputs, calls one function and wraps the result."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import art, best_of, demo, evaluation, guidance, judges, reversible, saliency, sampling


class SGOOLExtension(ComfyExtension):
    """Lists every node of the pack. Each family file ends with its own ``NODES``."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        families = (saliency, guidance, art, judges, sampling, best_of, reversible, evaluation, demo)
        return [node for family in families for node in family.NODES]
