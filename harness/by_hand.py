"""From a KSampler to SGOOL KSampler without *Improve with SGOOL*: by mouse and keys, as fast as the page takes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .screenshots import Scenes

SLOT = """
const [kind, title, name, isInput] = arguments;
const node = window.app.graph.nodes.find(n => n.type === kind && (!title || n.title === title));
const slot = (isInput ? node.inputs : node.outputs).findIndex(each => each.name === name);
const [x, y] = window.app.canvas.ds.convertOffsetToCanvas(node.getConnectionPos(isInput, slot));
const box = window.app.canvas.canvas.getBoundingClientRect();
return [box.left + x, box.top + y];
"""
WIDGET = """
const [kind, name] = arguments;
const node = window.app.graph.nodes.find(n => n.type === kind);
const widget = node.widgets.find(each => each.name === name);
const place = [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + 10];
const [x, y] = window.app.canvas.ds.convertOffsetToCanvas(place);
const box = window.app.canvas.canvas.getBoundingClientRect();
return [box.left + x, box.top + y];
"""
LINKED = """
const [kind, title, name] = arguments;
const node = window.app.graph.nodes.find(n => n.type === kind && (!title || n.title === title));
return node.inputs.find(each => each.name === name).link !== null;
"""
HAS = "return window.app.graph.nodes.some(n => n.type === arguments[0])"
VALUE = "return window.app.graph.nodes.find(n => n.type === arguments[0]).widgets.find(w => w.name === arguments[1]).value == arguments[2]"
DIALOG = "return document.querySelector('.graphdialog input')"
CONTROL, ENTER = "\ue009", "\ue007"  # as selenium has keys

OURS, LOSS, MODEL = "SGOOL_KSampler", "SGOOL_SaliencyCLIPLoss", "SGOOL_LoadDemoModel"
NODES = [("SGOOL KSampler", OURS, (700, 560)), ("Saliency CLIP Loss", LOSS, (300, 560))]
LINKS = [  # from (kind, title or nothing, output) to (kind, title or nothing, input)
    ((MODEL, "", "MODEL"), (OURS, "", "model")),
    (("CLIPTextEncode", "Positive", "CONDITIONING"), (OURS, "", "positive")),
    (("CLIPTextEncode", "Negative", "CONDITIONING"), (OURS, "", "negative")),
    (("EmptyLatentImage", "", "LATENT"), (OURS, "", "latent_image")),
    ((MODEL, "", "VAE"), (OURS, "", "vae")),
    ((MODEL, "", "reward"), (LOSS, "", "reward")),
    (("PrimitiveStringMultiline", "", "STRING"), (LOSS, "", "prompt")),
    ((LOSS, "", "objective"), (OURS, "", "objective")),
    ((OURS, "", "LATENT"), ("VAEDecode", "", "samples")),
]
VALUES = [("steps", "12"), ("cfg", "3")]


def build(scenes: Scenes) -> str:
    """Do it on the graph of ``Scenes.plain``, and say what it took."""
    for text, kind, place in NODES:
        _add(scenes, text, kind, place)
    for begin, end in LINKS:
        page = scenes.page
        _drag(scenes, page.run(SLOT, *begin, False), page.run(SLOT, *end, True))
        page.wait_until(LINKED, *end, timeout=10)
    for name, value in VALUES:
        _type(scenes, name, value)
    return f"{len(NODES)} searches, {len(LINKS)} links, {len(VALUES)} values"


def _add(scenes: Scenes, text: str, kind: str, place: tuple[float, float]) -> None:
    """Search for a node on an empty place of the canvas and take the first that is found."""
    scenes.mouse(place, clicks=2)
    for keys in (text, ENTER):
        time.sleep(0.7)
        scenes.page.driver.switch_to.active_element.send_keys(keys)
    scenes.page.wait_until(HAS, kind, timeout=20)
    time.sleep(0.5)
    scenes.mouse(place)  # it hangs on the mouse until then
    time.sleep(0.5)


def _type(scenes: Scenes, name: str, value: str) -> None:
    """Write a number into a widget of SGOOL KSampler."""
    scenes.mouse(scenes.page.run(WIDGET, OURS, name))
    field = scenes.page.wait_until(DIALOG, timeout=20)
    field.send_keys(CONTROL, "a")
    field.send_keys(value, ENTER)
    scenes.page.wait_until(VALUE, OURS, name, value, timeout=20)


def _drag(scenes: Scenes, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """Press at one place and let go at another."""
    between = ((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
    moves = [("mouseMoved", begin, 0), ("mousePressed", begin, 1), *(("mouseMoved", place, 1) for place in (between, end, end))]
    for kind, (x, y), pressed in [*moves, ("mouseReleased", end, 0)]:
        button = "none" if kind == "mouseMoved" and not pressed else "left"
        event = {"type": kind, "x": x, "y": y, "button": button, "buttons": pressed, "clickCount": int(kind != "mouseMoved")}
        scenes.page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        time.sleep(0.05)
