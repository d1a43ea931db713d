"""What the pack's own JavaScript says is complete in each language of ``locales/``, and said in the page's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sgool.comfy_bridge.questions import WRONG
from sgool.harness.locales import LANGUAGES
from sgool.harness.page import Page
from sgool.harness.server import ROOT, Server

from .test_page_improve import COVERING, DEMO, KSAMPLER

pytestmark = pytest.mark.browser

FILES = sorted(path.name for path in (ROOT / "web" / "js").glob("*_words.js"))
# Every text of a file by its path; of a function what it makes of its arguments, with and without them.
SPOKEN = """
const done = arguments[1];
const leaves = (value, path) => typeof value === 'object'
    ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]))
    : [[path.join('.'), typeof value === 'function' ? [value('NAMED', true), value(0, false)] : [value]]];
import(`/extensions/sgool/js/${arguments[0]}`).then(
    ({WORDS}) => done(Object.fromEntries(Object.entries(WORDS).map(([name, words]) => [name, Object.fromEntries(leaves(words, []))]))),
    error => done({error: String(error)}));
"""


def spoken(page: Page, file: str) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = page.driver.execute_async_script(SPOKEN, file)
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_language_says_everything(page: Page, file: str) -> None:
    said = spoken(page, file)
    assert set(said) == {"en", *LANGUAGES}
    english = said.pop("en")
    for language, texts in said.items():
        assert texts.keys() == english.keys(), language
        assert [path for path, each in texts.items() if not all(text.strip() for text in each)] == []
        assert [path for path, each in texts.items() if each[0] == english[path][0]] == [], f"not translated into {language}"
        named = [path for path, each in english.items() if "NAMED" in each[0]]
        assert [path for path in named if "NAMED" not in texts[path][0]] == [], f"{language} leaves out what is named"


def test_the_page_has_a_text_for_everything_that_the_server_finds_wrong(page: Page) -> None:
    texts = spoken(page, "pick_words.js")["en"]
    assert {path.removeprefix("wrong.") for path in texts if path.startswith("wrong.")} == set(WRONG)


@pytest.fixture
def korean(page: Page, server: Server) -> Iterator[Page]:
    server.post("/settings", {"Comfy.Locale": "ko"})
    try:
        page.open()
        page.wait_until("return window.LiteGraph.registered_node_types.SGOOL_Settings?.title === 'SGOOL 설정'")
        page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
        yield page
    finally:
        server.post("/settings", {"Comfy.Locale": "en"})


OPTIONS = """
const node = window.app.graph.nodes.find(n => n.type === arguments[0]);
const item = window.app.canvas.getNodeMenuOptions(node).find(i => i?.content?.startsWith('SGOOL로 개선'));
"""
TOLD = "return [...document.querySelectorAll('.p-toast-detail')].map(each => each.textContent)"


def test_improve_speaks_korean(korean: Page) -> None:
    graph: dict[str, Any] = DEMO | KSAMPLER
    korean.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'improve')", json.dumps(graph))
    korean.wait_until("return window.app.graph.nodes.length === arguments[0]", len(graph))
    korean.run(f"{OPTIONS} item.callback()", "KSampler")
    (told,) = korean.wait_until(TOLD)
    assert told.startswith("무엇을 개선할지는 현저성 CLIP 손실 노드가 정합니다. 프롬프트는 이제 프롬프트 노드에 있고,")
    assert korean.run("return window.app.graph.nodes.find(n => n.type === 'PrimitiveStringMultiline').title") == "프롬프트"
    assert korean.run(COVERING) == []


def test_why_not_is_said_in_korean(korean: Page) -> None:
    some = {**KSAMPLER["6"]["inputs"], "start_at_step": 1, "end_at_step": 10000, "add_noise": "enable", "noise_seed": 1}
    some |= {"return_with_leftover_noise": "disable"}
    graph: dict[str, Any] = DEMO | {"6": {"class_type": "KSamplerAdvanced", "inputs": {k: v for k, v in some.items() if k != "denoise"}}}
    korean.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'improve')", json.dumps(graph))
    korean.wait_until("return window.app.graph.nodes.some(n => n.type === 'KSamplerAdvanced')")
    assert korean.run(f"{OPTIONS} return [item.content, item.disabled]", "KSamplerAdvanced") == [
        "SGOOL로 개선 (SGOOL KSampler 노드는 모든 단계를, 이 노드는 일부만 샘플링함)",
        True,
    ]
