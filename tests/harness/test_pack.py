"""The pack is imported under one name, from a folder of any name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sgool.harness.pack import ROOT

# A clone's folder may be called anything: what the pack is called, what one of its folders is called, what shells and imports trip over.
FOLDERS = ["sgool", "nodes", "my packs/sgool-0.1 (copy)", "paquet été 画像", "100%[a]#b"]
LOOK = """
import sys
from harness.pack import load_pack
pack = load_pack()
sys.path.pop(0)  # the clone, from which only `harness` was wanted
import sgool.guidance.distances as inside
assert pack.WEB_DIRECTORY == "./web", pack.WEB_DIRECTORY
assert "nodes" not in sys.modules, sys.modules["nodes"]
print(inside.__file__)
"""


def test_the_packs_nodes_do_not_hide_comfyuis() -> None:
    import sgool

    assert sgool.WEB_DIRECTORY == "./web"
    # ComfyUI's own module of this name, if it is loaded, wherever ComfyUI is: it may well lie below a folder called `sgool`.
    assert "nodes" not in sys.modules or Path(str(sys.modules["nodes"].__file__)) != ROOT / "nodes" / "__init__.py"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_clone_may_be_called_anything(tmp_path: Path, name: str) -> None:
    clone = tmp_path / name
    for folder in ("harness", "guidance"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "__init__.py", clone)
    look = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(clone)!r})\n{LOOK}"]
    found = subprocess.run(look, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()) == clone / "guidance" / "distances.py"
