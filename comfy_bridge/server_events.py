"""The server that a node runs in, and the node that runs."""

from __future__ import annotations

import sys
from typing import Any

from comfy_execution.utils import get_executing_context


def server() -> Any:
    """ComfyUI's ``PromptServer``; ``None`` where there is none, as in a script."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def node_that_runs() -> str | None:
    """Its id, as the page's graph has it; ``None`` outside of a run."""
    context = get_executing_context()
    return None if context is None else context.node_id


def show_in_node(text: str, node_id: str | None) -> None:
    """Show text in a node of the page, in the place of what was shown before; nothing where there is no server or node."""
    at = server()
    if at is not None and node_id is not None:
        at.send_progress_text(text, node_id, at.client_id)
