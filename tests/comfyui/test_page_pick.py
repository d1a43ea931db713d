"""SGOOL Pick in the page, in both of its node designs: images to click, buttons, the time left, and what was picked."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sgool.harness.page import Page
from sgool.harness.server import Server

from .test_pick import COUNT, LONG, picking

pytestmark = pytest.mark.browser

TILES = "return document.querySelectorAll('.sgool-pick:not(.sgool-pick-closed) .sgool-pick-tile').length"
LOADED = "const all = [...document.querySelectorAll('.sgool-pick-tile img')]; return all.length && all.every(i => i.naturalWidth > 0)"
SIZES = "return [...document.querySelectorAll('.sgool-pick-tile img')].map(i => i.getBoundingClientRect()).map(b => [b.width, b.height])"
PRESSED = "return [...document.querySelectorAll('.sgool-pick-tile')].flatMap((t, i) => t.ariaPressed === 'true' ? [i] : [])"
SAID = "return document.querySelector('.sgool-pick-said').textContent"
GO = ".sgool-pick-continue"
SAME_SEED = (
    "for (const node of window.app.graph.nodes) for (const widget of node.widgets ?? [])"
    " if (widget.name === 'control_after_generate') widget.value = 'fixed'"
)
CLOSED = "return document.querySelectorAll('.sgool-pick-closed').length"


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def picking_page(request: pytest.FixtureRequest, page: Page, server: Server) -> Iterator[Page]:
    """The page, with a graph that asks when it runs."""
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    try:
        page.open()
        page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
        graph = server.with_defaults(picking(LONG, scores=["all", 3]))
        page.run("window.app.loadApiJson(JSON.parse(arguments[0]), 'pick')", json.dumps(graph))
        page.wait_until("return window.app.graph.nodes.some(n => n.type === 'SGOOL_Pick')")
        page.run(SAME_SEED)
        yield page
    finally:
        server.interrupt()  # what still waits
        server.post("/settings", {"Comfy.VueNodes.Enabled": False})


def click(page: Page, selector: str, number: int = 0) -> None:
    """As a person does: it must be in sight and nothing may lie over it."""
    page.driver.find_elements("css selector", selector)[number].click()


def asked(page: Page) -> None:
    """Run, and bring the node into sight once it asks."""
    page.run("window.app.queuePrompt(0)")
    page.wait_until(f"{TILES} === {COUNT}")
    page.wait_until(LOADED)
    page.run(
        "const node = window.app.graph.nodes.find(n => n.type === 'SGOOL_Pick'); window.app.canvas.ds.scale = 1;"
        "window.app.canvas.ds.offset = [300 - node.pos[0], 200 - node.pos[1]]; window.app.canvas.setDirty(true, true)"
    )


def numbers(page: Page) -> list[int]:
    """Those that the node returned, as core's Preview as Text shows them."""
    found = page.wait_until(
        "const node = window.app.graph.nodes.find(n => n.type === 'PreviewAny');"
        "return node.widgets.map(w => w.value).find(v => typeof v === 'string' && /[0-9]/.test(v))"
    )
    return [int(text) for text in found.split()]


def test_goes_on_with_the_images_that_are_clicked_and_asks_again_next_time(picking_page: Page) -> None:
    page = picking_page
    asked(page)
    assert min(side for size in page.run(SIZES) for side in size) > 40
    assert "then the best" in page.wait_until(SAID)
    assert not page.driver.find_element("css selector", GO).is_enabled()
    for number in (1, 3, 2, 3):
        click(page, ".sgool-pick-tile", number)
    assert page.run(PRESSED) == [1, 2]
    click(page, GO)
    page.wait_until(CLOSED)
    assert page.run(SAID) == "Went on with 2."
    assert numbers(page) == [1, 2]
    asked(page)
    click(page, ".sgool-pick-best")
    page.wait_until(CLOSED)
    assert page.run(PRESSED) == [0]
    assert [message for message in page.errors() if "sgool" in message.lower()] == []


def test_a_canceled_run_closes_the_question_and_a_page_opened_anew_shows_it_again(picking_page: Page) -> None:
    page = picking_page
    asked(page)
    saved = page.run("return JSON.stringify(window.app.graph.serialize())")
    assert "sgool_pick" not in saved
    page.open()
    page.wait_until("return window.app.graph.nodes.length > 0")
    page.run("window.app.loadGraphData(JSON.parse(arguments[0]))", saved)
    page.wait_until(f"{TILES} === {COUNT}")
    page.run("window.app.extensionManager.command.execute('Comfy.Interrupt')")
    page.wait_until(CLOSED)
    assert page.run(SAID) == "Canceled."


SPOKEN = {  # the button, once one image is picked; that for the best; what is said while time is left, and in the end
    "ko": ("1장으로 계속", "가장 좋은 것 유지", "초 뒤 고른 것으로 계속", "1장으로 계속했습니다."),
    "ja": ("1枚で続ける", "最良の1枚を残す", "秒で選んだ画像に進みます", "1枚で続けました。"),
    "zh": ("用 1 张继续", "保留最好的", "秒后用选中的继续", "已用 1 张继续。"),
}
SAYS = "return ['continue', 'best', 'said'].map(name => document.querySelector(`.sgool-pick-${name}`).textContent)"


@pytest.mark.parametrize("picking_page", [False], indirect=True, ids=["canvas"])
def test_it_speaks_the_pages_language(picking_page: Page, server: Server) -> None:
    """The texts are read again for each question: the page need not be opened anew after its setting has changed."""
    page, setting = picking_page, "return window.app.extensionManager.setting.set('Comfy.Locale', arguments[0])"
    try:
        for language, (go, best, left, went) in SPOKEN.items():
            page.run(setting, language)
            asked(page)
            click(page, ".sgool-pick-tile", 1)
            page.wait_until("return !document.querySelector('.sgool-pick-continue').disabled")
            said = page.run(SAYS)
            assert said[:2] == [go, best]
            assert left in page.wait_until(
                f"const said = document.querySelector('.sgool-pick-said').textContent; return said.includes({left!r}) && said"
            )
            click(page, GO)
            page.wait_until(CLOSED)
            assert page.run(SAID) == went
    finally:
        page.run(setting, "en")
        server.post("/settings", {"Comfy.Locale": "en"})
