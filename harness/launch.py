"""Start ComfyUI's ``main.py`` as its users do, with the stand-ins in place: ``python -m harness.launch COMFYUI ARGUMENTS...``."""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path

from .stand_ins import install

WATCH = "SGOOL_STOP_WITH_PARENT"


def _end_with_the_parent() -> None:
    """End this process when the pipe that is its standard input closes, which happens however the parent ends."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Hand over to ComfyUI. The folder of the pack leaves ``sys.path``, where its ``nodes`` would hide ComfyUI's."""
    folder = Path(sys.argv[1])
    pack = Path(__file__).resolve().parent.parent
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != pack)]
    install()
    if os.environ.pop(WATCH, None):
        _end_with_the_parent()
    script = str(folder / "main.py")
    sys.argv = [script, *sys.argv[2:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
