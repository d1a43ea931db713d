"""What is published (tracked files without those of .comfyignore), unzipped into folders of odd names beside packs that collide with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from sgool.harness.pack import ROOT

pytestmark = pytest.mark.comfyui

FOLDERS = ["sgool", "SGOOL-0.1 (copy)", "paquet été 画像 [v1.2]"]
# A pack that puts its folder onto sys.path and its own modules under names that this pack has too. One is loaded before, one after.
RUDE = """
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
for name in ("utils", "guidance", "rewards", "schema", "image_ops"):
    sys.modules.pop(name, None)
    __import__(name)
import guidance
assert guidance.WHOSE == "theirs"
NODE_CLASS_MAPPINGS = {}
"""
LOAD = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from harness import comfyui, in_process
base = Path({base!r})
in_process.prepare(comfyui.find(), base)
sys.path.remove({root!r})
import nodes
found = {{}}
for folder in {order!r}:
    before = set(nodes.NODE_CLASS_MAPPINGS)
    for name in [name for name in before if name.startswith("SGOOL_")]:
        del nodes.NODE_CLASS_MAPPINGS[name]
    assert asyncio.run(nodes.load_custom_node(str(base / "custom_nodes" / folder))), folder
    found[folder] = sorted(name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("SGOOL_"))
import guidance
found["theirs"] = guidance.WHOSE
found["harness"] = [name for name in sys.modules if name.endswith((".harness", ".tests", ".benchmarks"))]
print("FOUND" + json.dumps(found))
"""


def published() -> list[str]:
    """The files that ``comfy node pack`` takes: what git tracks, without what .comfyignore (in gitignore's syntax) leaves out."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs git and a clone of the repository")

    def listed(*options: str) -> set[str]:
        found = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True).stdout
        return {name for name in found.decode().split("\0") if name and (ROOT / name).is_file()}

    return sorted(listed() - listed("-ci", "--exclude-from=.comfyignore"))


def test_users_get_what_runs_and_nothing_of_the_development() -> None:
    files = published()
    folders = {name.split("/")[0] for name in files if "/" in name}
    assert {"nodes", "comfy_bridge", "web", "workflows", "locales", "demo"} <= folders
    assert folders & {"tests", "benchmarks", "harness", ".ci", ".github"} == set()
    assert [name for name in files if name.startswith("demo/train")] == []
    assert {"demo/weights/unet.safetensors", "web/docs/SGOOL_KSampler.md", "workflows/SGOOL-KSampler.json", "LICENSE"} <= set(files)


@pytest.mark.timeout(300)
def test_the_unzipped_archive_loads_in_any_folder_beside_packs_with_the_same_folders(tmp_path: Path) -> None:
    archive = tmp_path / "node.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in published():
            zipped.write(ROOT / name, name)
    for folder in FOLDERS:
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(tmp_path / "custom_nodes" / folder)
    for rude in ("a rude pack", "z rude pack"):
        for name in ("utils", "guidance", "rewards", "schema", "image_ops"):
            package = tmp_path / "custom_nodes" / rude / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text('WHOSE = "theirs"\n')
        (tmp_path / "custom_nodes" / rude / "__init__.py").write_text(RUDE)
    order = ["a rude pack", *FOLDERS, "z rude pack"]
    script = LOAD.format(root=str(ROOT), base=str(tmp_path), order=order)
    quiet = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=quiet, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout[ran.stdout.rindex("FOUND") + 5 :])
    assert "SGOOL_KSampler" in found["sgool"]
    assert len({tuple(found[folder]) for folder in FOLDERS}) == 1
    assert found["theirs"] == "theirs"
    assert [name for name in found["harness"] if str(tmp_path) in name] == []


def test_comfy_cli_accepts_and_packs_it(tmp_path: Path) -> None:
    comfy = shutil.which("comfy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if comfy is None:
        pytest.skip("comfy-cli is not installed (pip install 'comfy-cli>=1.23')")
    files = set(published())
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(lambda name: name and (ROOT / name).is_file(), tracked):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    alone = {**os.environ, "HOME": str(tmp_path / ".home"), "DO_NOT_TRACK": "1", "COMFY_NO_TELEMETRY": "1"}
    for command in ("validate", "pack"):
        ran = subprocess.run(
            [comfy, "--skip-prompt", "node", command], cwd=tmp_path, env=alone, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "Security warnings" not in ran.stdout, ran.stdout
    with zipfile.ZipFile(tmp_path / "node.zip") as zipped:
        packed = {name for name in zipped.namelist() if not name.startswith((".home", ".ruff_cache"))}
    assert packed == files
