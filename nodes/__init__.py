"""The nodes of the pack, one file per family. A node checks its inputs, calls one function and wraps the result."""

from __future__ import annotations

import importlib
import pkgutil

from comfy_api.latest import ComfyExtension, io


class SGOOLExtension(ComfyExtension):
    """Lists every node of the pack: the ``NODES`` of each file in this folder that has them."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        names = sorted(info.name for info in pkgutil.iter_modules(__path__))
        files = [importlib.import_module(f".{name}", __name__) for name in names]
        return [node for file in files for node in getattr(file, "NODES", ())]
