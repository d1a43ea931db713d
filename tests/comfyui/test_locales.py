"""Names, inputs and tooltips of every node in the languages of ``locales/``: complete, nothing left over, and handed out by the server."""

from __future__ import annotations

from typing import Any

import pytest
from sgool.harness.locales import DYNAMIC, LANGUAGES, Translations, locale_of, read, without_gaps
from sgool.harness.server import Server

pytestmark = pytest.mark.server
HOW = "write it into harness/translations/{}.json, then run `python run.py locales`"


@pytest.fixture(scope="module")
def infos(server: Server) -> dict[str, Any]:
    found = server.get("/object_info")
    return {name: info for name, info in found.items() if info["python_module"] == "custom_nodes.sgool"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_is_translated_and_nothing_is_left_over(infos: dict[str, Any], language: str) -> None:
    say = read(language)
    locale_of(infos, say)
    assert sorted(set(say.missing)) == [], f"not translated: {HOW.format(language)}"
    assert say.stale() == [], f"no node says this any more: take it out of harness/translations/{language}.json"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_server_hands_out_the_translations(server: Server, infos: dict[str, Any], language: str) -> None:
    given, made = server.get("/i18n")[language], without_gaps(locale_of(infos, read(language)))
    assert given["nodeCategories"].items() >= made["nodeCategories"].items()
    for node, wanted in made["nodeDefs"].items():
        assert given["nodeDefs"].get(node) == wanted, f"{node}: run `python run.py locales`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_in_a_name_or_description_is_syntax_to_the_page(language: str) -> None:
    # The page's messages (vue-i18n) take these as placeholders, links and plurals.
    assert [text for section in read(language).sections.values() for text in section.values() if set(text) & set("{}@|")] == []


def test_what_is_missing_or_stale_is_named() -> None:
    size = ["INT", {"tooltip": "How far."}]
    node = {
        "display_name": "Blur",
        "description": "Blurs.",
        "category": "SGOOL/art",
        "input": {"required": {"rule": [DYNAMIC, {"options": [{"key": "a", "inputs": {"required": {"size": size}}}]}]}},
        "output": ["IMAGE", "FLOAT"],
        "output_name": ["IMAGE", "mean"],
        "output_tooltips": ["Blurred.", ""],
    }
    known = {
        "texts": {"Blurs.": "..", "Sharpens.": ".."},
        "names": {"rule": "..", "SGOOL_B.rule_size": "this"},
        "nodes": {},
        "categories": {"art": ".."},
    }
    say = Translations(known)
    made = locale_of({"SGOOL_B": node}, say)
    assert sorted(say.missing) == ["categories: SGOOL", "names: mean", "nodes: Blur", "texts: Blurred.", "texts: How far."]
    assert say.stale() == ["texts: Sharpens."]
    assert made["nodeDefs"]["SGOOL_B"]["inputs"]["rule_size"]["name"] == "this"
