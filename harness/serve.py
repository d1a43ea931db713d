"""ComfyUI with the pack in the browser, until Ctrl-C: ``python -m harness.serve``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import webbrowser

from . import comfyui
from .problems import SetupProblem
from .server import ROOT, Server, stop_on_signals

TEMPLATE = "SGOOL-KSampler"
LARGE = {  # packages that ComfyUI's requirements name and run.py does not bring
    "comfyui-workflow-templates": "ComfyUI's own templates",
    "comfyui-embedded-docs": "the help pages of ComfyUI's own nodes",
}


def main(arguments: list[str]) -> int:
    """Start the server, name its address, and wait for Ctrl-C or its end."""
    parser = argparse.ArgumentParser(prog="run.py serve", description="ComfyUI with this pack and its demo model, in the browser.")
    parser.add_argument("--port", type=int, default=8188, help="where to listen, on 127.0.0.1 (default: 8188)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--gpu", action="store_true", help="use the GPU (default: the processor)")
    options = parser.parse_args(arguments)
    tree = comfyui.find()
    if tree is None:
        raise SetupProblem("no ComfyUI was found; start with `python run.py serve`, which brings one.")
    stop_on_signals()
    output = ROOT / "output"
    output.mkdir(exist_ok=True)
    server = Server(tree, ROOT / ".cache" / "serve", port=options.port, cpu=not options.gpu, arguments=["--output-directory", str(output)])
    print("Starting ComfyUI ...", flush=True)
    with server:
        address = server.url + opening_graph()
        print(f"ComfyUI with SGOOL is at {address}\nImages go to {output}, the log to {server.log}. Ctrl-C stops it.", flush=True)
        if said := left_out():
            print(said, flush=True)
        if not options.no_browser:
            webbrowser.open(address)
        return server.wait_for_end()


def opening_graph() -> str:
    """The part of the address that opens the demo's template, or nothing where the pack ships none."""
    return f"/?template={TEMPLATE}&source=sgool" if (ROOT / "workflows" / f"{TEMPLATE}.json").exists() else ""


def left_out() -> str:
    """What of ComfyUI is not there, and how to have it; an empty text where nothing is missing."""
    missing = [name for name in LARGE if importlib.util.find_spec(name.replace("-", "_")) is None]
    what = " and ".join(LARGE[name] for name in missing)
    return f"Left out, since large: {what}. To have them: {sys.executable} -m pip install {' '.join(missing)}" if missing else ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupProblem as problem:
        sys.exit(f"run.py: {problem}")
    except KeyboardInterrupt:
        print("\nStopped.")
