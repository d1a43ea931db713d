"""Help pages: what they link to is there, and the page's help panel shows them, in both of its node designs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from PIL import Image
from sgool.harness.help_images import PAGES, TEMPLATE, small_graph, template_of
from sgool.harness.page import Page, start_chromium, why_no_browser
from sgool.harness.server import ROOT, Server

NODES = sorted(path.stem for path in PAGES.glob("*.md"))
IMAGE = re.compile(r"!\[([^\]]+)\]\((\S+)\)")
WIDEST, HEAVIEST = 420, 40_000  # of an image: it is drawn 272 pixels wide

OPEN = """
window.app.graph.clear();
const node = window.LiteGraph.createNode(arguments[0]);
window.app.graph.add(node);
window.app.canvas.selectNode(node);
"""
# The panel stays open from one page to the next: then there is no button. The page may put its own first graph over the node.
PANEL = (
    """
const seen = selector => [...document.querySelectorAll(selector)].find(each => each.offsetParent);
if (seen('.node-help-content')) return true;
const button = seen('[data-testid=info-button]');
if (button) { button.click(); return false; }
"""
    + OPEN
    + "return false"
)
SHOWN = """
const help = [...document.querySelectorAll('.node-help-content')].find(each => each.offsetParent);
const image = help?.querySelector('img');
if (!image?.complete || !image.src.endsWith(`/img/${arguments[0]}.webp`)) return null;
return {title: help.querySelector('h1').textContent, image: image.naturalWidth, link: help.querySelector('a[href*=template]').href,
        width: help.clientWidth, needed: help.scrollWidth, tables: [...help.querySelectorAll("table")].map(t => t.scrollWidth)};
"""


FOLLOWED = """
const link = [...document.querySelectorAll('.node-help-content a[href*=template]')].find(each => each.offsetParent);
link.addEventListener('click', event => event.preventDefault());
link.click();
return link.href;
"""


def pages_of(node: str) -> list[Path]:
    return [PAGES / f"{node}.md", PAGES / node / "ko.md"]


@pytest.mark.server
@pytest.mark.parametrize("node", NODES)
def test_a_help_page_has_an_image_that_is_served_and_a_template_that_exists(node: str, server: Server) -> None:
    for page in pages_of(node):
        text = page.read_text(encoding="utf-8")
        ((title, image),) = IMAGE.findall(text)
        assert text.startswith(f"# {title}\n")
        assert image == f"img/{node}.webp"  # which the page looks for in docs/, also for a page in another language
        assert TEMPLATE.findall(text) == [template_of(node)]
    assert (ROOT / "workflows" / f"{template_of(node)}.json").exists()
    assert node in {each["class_type"] for each in small_graph(node).values()}
    served = urlopen(f"{server.url}/extensions/sgool/docs/img/{node}.webp").read()
    assert len(served) < HEAVIEST
    assert Image.open(BytesIO(served)).width < WIDEST


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def design(request: Any, server: Server) -> Iterator[bool]:
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    yield request.param
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})


@pytest.mark.browser
def test_the_link_to_a_template_works_whatever_the_packs_folder_is_called(comfyui: Path, tmp_path: Path) -> None:
    reason = why_no_browser()
    if reason:
        pytest.skip(reason)
    with Server(comfyui, tmp_path, folder="ComfyUI_SGOOL-2") as server, start_chromium() as driver:
        server.post("/settings", {"Comfy.TutorialCompleted": True})
        page = Page(driver, server.url)
        page.open()
        page.wait_until("return window.app.graph.nodes.length > 0")
        page.wait_until(PANEL, "SGOOL_Pick")
        page.run(OPEN, "SGOOL_Pick")
        page.wait_until(SHOWN, "SGOOL_Pick", timeout=20)
        link = page.run(FOLLOWED)
        assert link.endswith(f"?template={template_of('SGOOL_Pick')}&source=ComfyUI_SGOOL-2")
        driver.get(link)
        page.wait_until("return window.app?.graph?.nodes?.some(node => node.type === 'SGOOL_Pick')")


@pytest.mark.browser
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_help_panel_shows_every_page_with_its_image_and_no_wider_than_it_is(
    design: bool, language: str, page: Page, server: Server
) -> None:
    server.post("/settings", {"Comfy.Locale": language})
    try:
        page.open()
        page.wait_until("return window.app.graph.nodes.length > 0")  # the page's own first graph, which comes late
        page.wait_until(PANEL, NODES[0])
        too_wide: dict[str, float] = {}
        for node in NODES if not design else ["SGOOL_KSampler"]:
            page.run(OPEN, node)
            found = page.wait_until(SHOWN, node, timeout=20)
            text = pages_of(node)[language == "ko"].read_text(encoding="utf-8")
            assert text.startswith(f"# {found['title']}\n")
            assert found["image"] > 100
            assert found["link"] == f"{server.url}/?template={template_of(node)}&source=sgool"
            needed = max(found["needed"], *found["tables"], 0)
            if needed > found["width"]:
                too_wide[node] = needed
        assert too_wide == {}
    finally:
        server.post("/settings", {"Comfy.Locale": "en"})
