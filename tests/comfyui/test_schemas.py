"""What every node of the pack owes to the person who reads it in the editor."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import sgool
from comfy_api.latest import io
from sgool.harness.server import ROOT, Server

import nodes

pytestmark = pytest.mark.comfyui


async def _listed() -> list[type[io.ComfyNode]]:
    extension = await sgool.comfy_entrypoint()
    return await extension.get_node_list()


NODES = asyncio.run(_listed())


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.define_schema().node_id)
def test_a_node_explains_itself(node: type[io.ComfyNode]) -> None:
    schema = node.define_schema()
    assert re.fullmatch(r"SGOOL_[A-Za-z]+", schema.node_id)
    assert schema.category.startswith("SGOOL/")
    assert schema.display_name
    assert len(schema.description) > 40
    assert schema.search_aliases
    assert [item.id for item in schema.inputs if not item.tooltip] == []
    assert [item.display_name or item.id for item in schema.outputs if not item.tooltip] == []


CHECKED = [node for node in NODES if "validate_inputs" in vars(node)]


@pytest.mark.parametrize("node", CHECKED, ids=lambda node: node.define_schema().node_id)
def test_what_is_known_before_a_run_is_asked_of_graphs_that_leave_inputs_out_as_well(node: type[io.ComfyNode]) -> None:
    # Core asks with what the graph has, and says itself what is missing: an exception here would come in its place.
    said = node.validate_inputs()
    assert said is True or isinstance(said, str)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.define_schema().node_id)
def test_a_node_has_a_help_page(node: type[io.ComfyNode]) -> None:
    schema = node.define_schema()
    page = ROOT / "web" / "docs" / f"{schema.node_id}.md"
    assert page.exists()
    text = page.read_text(encoding="utf-8")
    known = set(nodes.KSampler.INPUT_TYPES()["required"]) if "As in KSampler" in text else set()
    assert [item.id for item in schema.inputs if item.id not in text and item.id not in known] == []


def _options(inputs: Iterable[io.Input]) -> Iterator[str]:
    """What the combo widgets offer, those of core's and of files in folders left out."""
    for item in inputs:
        for option in getattr(item, "options", None) or ():
            if isinstance(option, io.DynamicCombo.Option):
                yield option.key
                yield from _options(option.inputs)
            elif item.id not in ("sampler_name", "scheduler", "reward_name") and Path(str(option)).suffix != ".safetensors":
                yield str(option)


@pytest.mark.parametrize("page", ["{}.md", "{}/ko.md"], ids=["en", "ko"])
@pytest.mark.parametrize("node", NODES, ids=lambda node: node.define_schema().node_id)
def test_a_help_page_names_every_choice_as_the_page_does(node: type[io.ComfyNode], page: str) -> None:
    """ComfyUI translates the names of inputs, and not what they offer."""
    schema = node.define_schema()
    text = (ROOT / "web" / "docs" / page.format(schema.node_id)).read_text(encoding="utf-8")
    assert [option for option in _options(schema.inputs) if option not in text] == []


def test_readme_calls_the_nodes_as_the_page_does() -> None:
    rows = re.findall(r"^\| ([^|]+) \|[^|]*\| (?:\[|$)", ROOT.joinpath("README.md").read_text(encoding="utf-8"), re.M)
    named = [name.strip() for row in rows for name in row.split(", ")]
    assert sorted(named) == sorted(node.define_schema().display_name for node in NODES)


@pytest.mark.parametrize("language", ["", "ko"])
@pytest.mark.parametrize("node", NODES, ids=lambda node: node.define_schema().node_id)
def test_a_help_page_names_every_input_and_output_and_its_tables_fit_the_panel(node: type[io.ComfyNode], language: str) -> None:
    schema = node.define_schema()
    folder = ROOT / "web" / "docs"
    text = (folder / schema.node_id / f"{language}.md" if language else folder / f"{schema.node_id}.md").read_text(encoding="utf-8")
    if language:
        assert [item.id for item in schema.inputs if f"`{item.id}`" not in text] == []
        assert [item.display_name for item in schema.outputs if f"`{item.display_name or item.get_io_type()}`" not in text] == []
    # The panel is about 400 pixels wide: more columns than three do not fit beside each other.
    assert [line for line in text.splitlines() if line.startswith("|") and line.count("|") > 4] == []


def test_no_node_is_left_out_of_the_list() -> None:
    written = {
        f"{path.stem}.{name}"
        for path in (ROOT / "nodes").glob("*.py")
        for name in re.findall(r"^class (\w+)\(io\.ComfyNode\)", path.read_text(), re.M)
    }
    assert written == {f"{node.__module__.rpartition('.')[2]}.{node.__name__}" for node in NODES}


@pytest.mark.server
def test_the_server_hands_out_the_help_pages(server: Server) -> None:
    for node in NODES:
        name = node.define_schema().node_id
        for page in (f"{name}.md", f"{name}/ko.md"):  # in a language the page looks for the second, and takes the first where it is not
            assert server.text(f"/extensions/sgool/docs/{page}") == Path(ROOT, "web", "docs", page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("rule of thirds", "SGOOL_Composition"),
        ("golden ratio", "SGOOL_Composition"),
        ("color harmony", "SGOOL_Color"),
        ("palette", "SGOOL_Color"),
        ("style", "SGOOL_Texture"),
        ("rim light", "SGOOL_Light"),
        ("backlight", "SGOOL_Light"),
    ],
)
def test_what_painters_and_photographers_search_for_is_found(words: str, name: str) -> None:
    found = [schema.node_id for schema in (node.define_schema() for node in NODES) if words in schema.search_aliases]
    assert name in found
