"""ComfyUI's page in a headless Chromium."""

from __future__ import annotations

import base64
import io
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from PIL import Image

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

READY = "return Boolean(window.app?.graph && window.app.extensionManager && window.LiteGraph)"
NODES = "return window.app.graph.nodes.map(node => ({type: node.type, title: node.title, hasErrors: Boolean(node.has_errors)}))"


def why_no_browser() -> str:
    """Why no Chromium can be driven here, or an empty text where one can."""
    if not (shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")):
        return "Chromium is not installed (on Debian: apt install chromium chromium-driver)"
    if not shutil.which("chromedriver"):
        return "chromedriver is not installed (on Debian: apt install chromium-driver)"
    return ""


def start_chromium() -> Chrome:
    """Start a headless Chromium. The caller ends it with ``quit()``."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.add_argument("--window-size=1600,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options=options, service=Service(shutil.which("chromedriver")))


class Page:
    """The page of the ComfyUI server at ``url``."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, **query: str) -> None:
        """Load the page, with ``query`` in its address, and wait until the graph editor is there."""
        self.driver.get(f"{self.url}/?{urlencode(query)}")
        self.wait_until(READY)

    def open_template(self, name: str, pack: str = "sgool") -> None:
        """Load the page with one of the pack's template workflows in the editor, and wait until it is there."""
        self.open(template=name, source=pack)
        self.wait_until("return !location.search.includes('template=')")  # which the page drops then, and not before

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and return its value."""
        return self.driver.execute_script(script, *arguments)

    def wait_until(self, script: str, *arguments: Any, timeout: float = 90.0) -> Any:
        """Run JavaScript again and again until its value counts as true, and return that value."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            value = self.run(script, *arguments)
            if value:
                return value
            time.sleep(0.2)
        raise TimeoutError(f"still false in the page after {timeout:.0f} s: {script}")

    def screenshot(self, box: Sequence[float] | None = None) -> Image.Image:
        """What the window shows, in RGB, or the part of it at ``box``: left, top, width and height."""
        clip = {"clip": dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)} if box else {}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", clip)
        return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")

    def node_types(self) -> set[str]:
        """The ids of all nodes that the page can make."""
        return set(self.run("return Object.keys(window.LiteGraph.registered_node_types)"))

    def nodes(self) -> list[dict[str, Any]]:
        """Type and title of the nodes in the editor."""
        found: list[dict[str, Any]] = self.run(NODES)
        return found

    def errors(self) -> list[str]:
        """What the console has shown as an error since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
