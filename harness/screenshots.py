"""Screenshots of the page for ``docs/page.md``, and how long a better image takes in it: ``python run.py screenshots [SCENE...]``.

Every scene is what somebody does with mouse and keys, in the real page. Needs Chromium.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from . import by_hand, comfyui
from .client import Graph
from .page import Page, start_chromium, why_no_browser
from .problems import SetupProblem, exit_with
from .server import ROOT, Server, stop_on_signals
from .template import LOAD, numbered
from .workflow import load

SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.RightSidePanel.IsOpen": False}
HAS = "return window.app.graph.nodes.some(n => n.type === arguments[0])"
PLACE = """
const node = window.app.graph.nodes.find(n => n.type === arguments[0]);
const [x, y] = window.app.canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] - 15]);
const box = window.app.canvas.canvas.getBoundingClientRect();
return [box.left + x, box.top + y];
"""
ITEM = """
const reads = each => each.childElementCount === 0 && each.textContent.trim() === arguments[0] && each.offsetParent;
const box = [...document.querySelectorAll('*')].filter(reads).at(-1)?.getBoundingClientRect();
return box ? [box.left + box.width / 2, box.top + box.height / 2] : null;
"""
PREVIEWED = "return window.app.graph.nodes.filter(n => ['PreviewImage', 'SaveImage'].includes(n.type)).every(n => n.imgs?.length)"
FIT = "return window.app.extensionManager.command.execute('Comfy.Canvas.FitView')"


class Scenes:
    """What is shown, by a page and its server."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.server = page, server

    def mouse(self, place: tuple[float, float], button: str = "left", clicks: int = 1) -> None:
        """Click at a place of the window."""
        for kind in ("mouseMoved", *("mousePressed", "mouseReleased") * clicks):
            event = {"type": kind, "x": place[0], "y": place[1], "button": "none" if kind == "mouseMoved" else button, "clickCount": clicks}
            self.page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def click(self, text: str) -> None:
        """Click what has this text."""
        self.mouse(self.page.wait_until(ITEM, text, timeout=20))

    def template(self, name: str) -> None:
        """Open a template and wait for it."""
        self.page.open_template(name)
        for node in json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]:
            self.page.wait_until(HAS, node["type"])
        time.sleep(2)

    def finish(self) -> float:
        """Press Run and wait for the images; seconds."""
        started = time.monotonic()
        self.page.driver.find_element("css selector", "[data-testid=queue-button]").click()
        self.page.wait_until(PREVIEWED, timeout=500)
        return time.monotonic() - started

    def plain(self) -> None:
        """The graph of somebody who has a KSampler: the demo model's, without SGOOL."""
        whole = load(ROOT / "workflows" / "api" / "SGOOL-KSampler.json")
        kept = ("model", "prompt", "positive", "negative", "latent", "plain", "plain_image", "before")
        graph: Graph = {name: whole[name] for name in kept}
        graph["latent"]["inputs"]["batch_size"] = 1
        self.page.open()
        self.page.wait_until("return window.app.graph.nodes.length > 0")
        self.page.run(LOAD, json.dumps(numbered(graph)))
        self.page.wait_until("return window.app.graph.nodes.length === arguments[0]", len(graph))
        self.page.run(FIT)
        time.sleep(1.5)

    def menu(self) -> None:
        """The menu of a KSampler; then, unseen in the image, the whole way to a better image."""
        self.plain()
        print(f"  KSampler alone, to its image: {self.finish():.1f} s")
        started = time.monotonic()
        self.mouse(self.page.run(PLACE, "KSampler"), "right")
        self.page.wait_until(ITEM, "Improve with SGOOL", timeout=20)
        waited = time.monotonic()
        time.sleep(1)
        self.save("menu")
        started += time.monotonic() - waited
        self.click("Improve with SGOOL")
        self.page.wait_until(HAS, "SGOOL_KSampler", timeout=20)
        self.page.run("window.app.graph.nodes.filter(n => n.imgs).forEach(n => { n.imgs = null })")
        run = self.finish()
        print(f"  right click, Improve with SGOOL, Run: 3 clicks, {time.monotonic() - started:.1f} s, {run:.1f} s of it the run")

    def by_hand(self) -> None:
        """No image: the way without *Improve with SGOOL*."""
        self.page.driver.set_window_size(1920, 1080)
        self.plain()
        self.page.run("window.app.canvas.ds.changeScale(window.app.canvas.ds.scale * 0.6, [0, 0])")  # room below the graph
        time.sleep(1)
        started = time.monotonic()
        said = by_hand.build(self)
        built = time.monotonic() - started
        print(f"  by hand, {said}, Run: {built:.1f} s without thinking or aiming, and {self.finish():.1f} s the run")

    def templates(self) -> None:
        """The template browser at this pack."""
        self.page.open()
        self.page.run("window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        self.click("sgool")
        time.sleep(4)
        self.save("templates")

    def run(self) -> None:
        """A template whose run is over."""
        self.page.driver.set_window_size(1920, 1080)  # in less the page draws no text at the zoom of the whole graph
        self.template("SGOOL-KSampler")
        print(f"  SGOOL-KSampler: {self.finish():.1f} s")
        self.page.run(FIT)
        time.sleep(2)
        self.save("run")

    def help(self) -> None:
        """A node's help."""
        self.template("SGOOL-Saliency")
        self.mouse(self.page.run(PLACE, "SGOOL_PredictSaliency"))
        self.page.wait_until("return document.querySelector('[data-testid=info-button]')").click()
        self.page.wait_until("return document.querySelector('.node-help-content img')?.complete")
        time.sleep(1)
        self.save("help")
        self.server.post("/settings", SETTINGS)

    def search(self) -> None:
        """What a search finds."""
        self.page.open()
        self.page.wait_until("return window.app.graph.nodes.length > 0")
        time.sleep(2)
        self.mouse((800, 700), clicks=2)
        time.sleep(1)
        self.page.driver.switch_to.active_element.send_keys("improve prompt")
        time.sleep(2)
        self.save("search")

    def nodes2(self) -> None:
        """The other design of nodes, after a run."""
        self.server.post("/settings", {**SETTINGS, "Comfy.VueNodes.Enabled": True})
        self.template("SGOOL-Compare-Saliency")
        print(f"  SGOOL-Compare-Saliency: {self.finish():.1f} s")
        self.page.run(FIT)
        time.sleep(3)
        self.save("nodes2")
        self.server.post("/settings", {"Comfy.VueNodes.Enabled": False})

    def times(self) -> None:
        """No image: how long each template takes that runs anywhere."""
        for path in sorted((ROOT / "workflows" / "api").glob("SGOOL-*.json")):
            graph = load(path)
            kinds = {node["class_type"] for node in graph.values()}
            if kinds & {"SGOOL_LoadDemoModel", "SGOOL_DemoPhotograph"}:
                self.template(path.stem)
                print(f"  {path.stem}: {self.finish():.0f} s", flush=True)

    def save(self, name: str) -> None:
        """Write what the window shows."""
        image = self.page.screenshot()
        target = ROOT / "docs" / "img" / f"page_{name}.jpg"
        image.resize((1200, round(image.height * 1200 / image.width)), Image.Resampling.LANCZOS).save(target, quality=82, optimize=True)
        print(f"  {target} {target.stat().st_size // 1000} kB")


SCENES: dict[str, Callable[[Scenes], None]] = {
    "search": Scenes.search,
    "menu": Scenes.menu,
    "templates": Scenes.templates,
    "run": Scenes.run,
    "help": Scenes.help,
    "nodes2": Scenes.nodes2,
    "by_hand": Scenes.by_hand,
    "times": Scenes.times,
}


def main(arguments: list[str]) -> int:
    """Take the named scenes, or all."""
    parser = argparse.ArgumentParser(prog="run.py screenshots", description="Screenshots of the page for docs/page.md.")
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(SCENES)} (default: all)")
    names = parser.parse_args(arguments).scenes or list(SCENES)
    tree = comfyui.find()
    if tree is None or why_no_browser():
        raise SetupProblem(why_no_browser() or "no ComfyUI was found; `python run.py setup` brings one.")
    stop_on_signals()
    with tempfile.TemporaryDirectory() as base, Server(tree, Path(base)) as server:
        server.post("/settings", SETTINGS)
        driver = start_chromium()
        try:
            scenes = Scenes(Page(driver, server.url), server)
            for name in names:
                print(f"{name}:", flush=True)
                SCENES[name](scenes)
        finally:
            driver.quit()
    return 0


if __name__ == "__main__":
    exit_with(main, TimeoutError)
