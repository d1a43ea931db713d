"""The templates for checkpoints, run to their end in a server with miniatures of the models at the file names that they name.

Everything of the shipped graph but the image's size is as it is: core's loaders find out what each file is, core's tokenizers and text
encoders read the prompt, presets and steps are the template's. What the images look like is nothing that such weights could tell.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sgool.harness.server import ROOT, Server
from sgool.harness.workflow import load

from ...rewards import open_clip
from . import narrow
from .miniatures import TEMPLATES, write_reward

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.filterwarnings("ignore")]
SIDE = 64


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("miniatures")


@pytest.fixture(scope="module")
def narrow_server(comfyui: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("narrow")
    (base / "custom_nodes").mkdir()
    shutil.copy(narrow.__file__, base / "custom_nodes" / "narrow.py")
    with Server(comfyui, base, arguments=["--models-directory", str(models)]) as server:
        yield server


def test_every_template_without_the_demo_model_or_a_photograph_is_run_here() -> None:
    loaders = ("CheckpointLoaderSimple", "UNETLoader")
    graphs = {path.stem: load(path) for path in (ROOT / "workflows" / "api").glob("*.json")}
    assert {name for name, graph in graphs.items() if any(node["class_type"] in loaders for node in graph.values())} == set(TEMPLATES)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_for_a_checkpoint_runs_to_its_end(
    name: str, narrow_server: Server, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(open_clip, "LENGTH", 77)
        for where, attribute, value in narrow.CHANGES:
            changed.setattr(where, attribute, value)
        logging.disable(logging.WARNING)  # core names every weight that a file lacks; we fill them all
        try:
            TEMPLATES[name](models)
            write_reward(models)
        finally:
            logging.disable(logging.NOTSET)
    graph = load(ROOT / "workflows" / "api" / f"{name}.json")
    graph["latent"]["inputs"] |= {"width": SIDE, "height": SIDE}
    outputs = narrow_server.run(graph, timeout=1700)
    (image,) = outputs["save"]["images"]
    shown = narrow_server.view(image)
    assert shown.size == (SIDE, SIDE)
    assert len(set(shown.getdata())) > 10  # neither black nor NaN
