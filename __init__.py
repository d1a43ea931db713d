"""SGOOL for ComfyUI: saliency-guided optimization of diffusion latents (arXiv 2410.10257).

ComfyUI imports this file when the pack lies in ``custom_nodes/``. Everything that needs ComfyUI
is imported inside the entry point, so that the libraries can be used and tested without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Return the extension that lists the nodes of the pack (ComfyUI's V3 node API)."""
    import logging

    from comfyui_version import __version__ as version

    from .comfy_bridge.oldest import why_too_old

    if complaint := why_too_old(version):
        logging.warning(complaint)  # before the import that may fail for it
    from .nodes import SGOOLExtension

    return SGOOLExtension()
