"""Which part of the pack may import which: arrows only downwards, and ComfyUI in few places."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from sgool.harness.pack import ROOT

LIBRARIES = ("saliency_models", "guidance", "latent_optimization", "rewards")
LEAVES = {"image_ops", "numerics", "schema"}
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "execution", "folder_paths"}
COMFYUI |= {"latent_preview", "node_helpers", "nodes", "server"}
FORBIDDEN = re.compile(r"(?<![.\w])(?:eval|exec)\(|trust_remote_code\s*=\s*True|weights_only\s*=\s*False|pickle\.loads?\(")
# Below each folder: the folders of the pack that it may import.
BELOW = {
    **{leaf: set() for leaf in LEAVES},
    **{library: LEAVES for library in LIBRARIES},
    "comfy_bridge": {*LEAVES, *LIBRARIES},
    "demo": {"comfy_bridge", *LEAVES, *LIBRARIES},
    "nodes": {"comfy_bridge", "demo", *LEAVES, *LIBRARIES},
}
FILES = [path for folder in BELOW for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> list[tuple[int, str]]:
    """Every import in a file as (level, dotted name), level 0 being absolute."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.level, node.module)] if node.module else [(node.level, alias.name) for alias in node.names]
    return found


def folder_imported(path: Path, level: int, name: str) -> str:
    """The top folder of the pack that a relative import reaches into."""
    package = path.relative_to(ROOT).parent.parts
    return [*package[: len(package) - level + 1], *name.split(".")][0]


def test_imports_go_downwards_and_stay_relative() -> None:
    wrong = []
    for path in FILES:
        own = path.relative_to(ROOT).parts[0]
        for level, name in imports(path):
            top = name.split(".")[0]
            absolute = level == 0 and top in {"sgool", "harness", *BELOW} - COMFYUI
            upwards = level > 0 and folder_imported(path, level, name) not in {own, *BELOW[own]}
            if absolute or upwards:
                wrong.append((str(path.relative_to(ROOT)), name))
    assert wrong == []


def test_the_libraries_do_not_know_comfyui() -> None:
    inside = [path for path in FILES if path.relative_to(ROOT).parts[0] in LIBRARIES]
    found = [(path.name, name) for path in inside for level, name in imports(path) if level == 0 and name.split(".")[0] in COMFYUI]
    assert found == []


def test_nothing_executes_data() -> None:
    assert [str(path.relative_to(ROOT)) for path in FILES if FORBIDDEN.search(path.read_text(encoding="utf-8"))] == []


def test_no_file_is_large() -> None:
    folders = (*BELOW, "harness", "web", "workflows", "locales", "docs", "benchmarks", "tests")
    kept = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert [path.name for path in kept if path.stat().st_size > 1_000_000] == []


@pytest.mark.parametrize("extra", ["test", "bench"])
def test_the_lists_of_tools_are_the_same_in_both_places(extra: str) -> None:
    listed = (ROOT / "harness" / f"requirements-{extra}.txt").read_text(encoding="utf-8").split()
    block = re.search(rf"^{extra} = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    assert re.findall(r'"([^"]+)"', block[1]) == listed
