"""ComfyUI with the pack in the browser, until Ctrl-C: ``python -m harness.serve``."""

from __future__ import annotations

import argparse
import sys
import webbrowser

from . import comfyui
from .problems import SetupProblem
from .server import ROOT, Server, stop_on_signals

TEMPLATE = "SGOOL-KSampler"


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
        if not options.no_browser:
            webbrowser.open(address)
        return server.wait_for_end()


def opening_graph() -> str:
    """The part of the address that opens the demo's template, or nothing where the pack ships none."""
    return f"/?template={TEMPLATE}&source=sgool" if (ROOT / "workflows" / f"{TEMPLATE}.json").exists() else ""


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupProblem as problem:
        sys.exit(f"run.py: {problem}")
    except KeyboardInterrupt:
        print("\nStopped.")
