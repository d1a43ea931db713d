"""Make the virtual environment in which ComfyUI and the tests run, once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from . import comfyui
from .locks import only_one
from .pip import disk_full, is_disk_full, pip
from .problems import SetupProblem

ROOT = Path(__file__).resolve().parent.parent
# One version of torch, asked for by name before anything else can pull another. torchvision's must match it.
TORCH = "torch==2.13.0"
TORCHVISION = "torchvision==0.28.0"
# Installed otherwise (the first two), needed by audio and upscaling nodes alone (the next two), or only large.
NOT_FROM_COMFYUI = {"torch", "torchvision", "torchaudio", "spandrel", "comfyui-workflow-templates", "comfyui-embedded-docs"}
VENV = ("-m", "venv")
ROOM_FOR_PIP = 30_000_000
UNFINISHED = "sgool-unfinished"
MARKER = "sgool-complete.json"

Say = Callable[[str], None]
Pip = Callable[..., None]


def python_of(folder: Path, windows: bool = os.name == "nt") -> Path:
    """The interpreter of the virtual environment in ``folder``."""
    return folder / "Scripts" / "python.exe" if windows else folder / "bin" / "python"


def comfyui_requirements(text: str) -> list[str]:
    """The lines of ComfyUI's ``requirements.txt`` to install as they are."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line and re.split(r"[\s<>=~!;\[]", line, maxsplit=1)[0].lower() not in NOT_FROM_COMFYUI]


def fingerprint(requirements: list[str]) -> str:
    """Changes whenever something else is to be installed."""
    content = json.dumps([TORCH, TORCHVISION, requirements])
    return hashlib.sha256(content.encode()).hexdigest()


def ready(say: Say, environ: Mapping[str, str] = os.environ, run_pip: Pip = pip) -> tuple[Path, Path]:
    """Return the interpreter to run with and the ComfyUI to run against, making and fetching what is missing.

    What is complete is used as it is, without the network. What an interrupted run left behind is removed first. Raises SetupProblem with
    a sentence for the user.
    """
    home = comfyui.home(environ)
    folder = home / ".venv"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with only_one(home / ".cache" / "setup.lock", lambda: say("Waiting for another set-up of the same folder to end ...")):
            tree = comfyui.find(environ)
            python = _virtual_environment(folder, say)
            tree = tree or _bring_comfyui(python, folder, say, environ, run_pip)
            _install(folder, python, tree, say, run_pip)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(home) from error
        raise SetupProblem(f"the set-up in {home} failed: {error}; set SGOOL_HOME to a folder that you may write to.") from error
    return python, tree


def _virtual_environment(folder: Path, say: Say) -> Path:
    """Return the interpreter of the virtual environment in ``folder``, made again where it is missing or was left unfinished."""
    python = python_of(folder)
    unfinished = folder / UNFINISHED
    if unfinished.exists():
        say("An earlier set-up was interrupted: starting over ...")
        _remove(folder)
    if folder.exists():
        if not (folder / MARKER).exists():
            raise SetupProblem(f"{folder} is not of run.py's making; move it away, or set SGOOL_HOME to the folder to use instead.")
        if _works(python):
            return python
        say("The Python of the virtual environment is gone: making it again ...")
        _remove(folder)
    say(f"Making a virtual environment in {folder} ...")
    folder.mkdir(parents=True)
    unfinished.touch()
    made = subprocess.run([sys.executable, *VENV, str(folder)], capture_output=True, text=True, errors="replace", check=False)
    if made.returncode or not _works(python):
        full = (
            shutil.disk_usage(folder).free < ROOM_FOR_PIP
        )  # asked before room is made: venv does not pass on why pip's installation failed
        _remove(folder)
        if full:
            raise disk_full(folder)
        raise SetupProblem(
            f"{sys.executable} cannot make virtual environments; install its venv and ensurepip modules "
            "(on Debian and Ubuntu: apt install python3-venv)."
        )
    _write(folder / MARKER, "{}")
    unfinished.unlink()
    return python


def _works(python: Path) -> bool:
    """Whether the interpreter starts. It does not when the Python from which it was made has been removed."""
    if not python.exists():
        return False
    return subprocess.run([str(python), "-c", ""], capture_output=True, check=False).returncode == 0


def _remove(folder: Path) -> None:
    """Remove a virtual environment, the note that it is unfinished last."""
    for entry in folder.iterdir():
        if entry.name == UNFINISHED:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.rmtree(folder)


def _bring_comfyui(python: Path, folder: Path, say: Say, environ: Mapping[str, str], run_pip: Pip) -> Path:
    say(f"Fetching ComfyUI {comfyui.VERSION} (once) ...")
    log = folder / "sgool-pip.log"
    return comfyui.bring(lambda arguments: run_pip(python, arguments, "fetching ComfyUI", say, log), environ)


def _install(folder: Path, python: Path, tree: Path, say: Say, run_pip: Pip) -> None:
    """Install what is needed, unless the marker says that exactly this is installed."""
    wanted = comfyui_requirements((tree / "requirements.txt").read_text(encoding="utf-8"))
    tests, bench = ((ROOT / "harness" / f"requirements-{name}.txt").read_text(encoding="utf-8").split() for name in ("test", "bench"))
    marks = {"fingerprint": fingerprint([*wanted, *tests]), "bench": fingerprint(bench)}
    marker = folder / MARKER
    if json.loads(marker.read_text(encoding="utf-8")) == marks:
        return
    constraint = folder / "sgool-constraints.txt"
    constraint.write_text(f"{TORCH}\n{TORCHVISION}\n", encoding="utf-8")
    steps = [
        ("torch", [TORCH]),
        ("torchvision", ["--no-deps", TORCHVISION]),
        ("ComfyUI's requirements", ["--constraint", str(constraint), *wanted]),
        ("the tools of the tests and benchmarks", ["--constraint", str(constraint), *dict.fromkeys([*tests, *bench])]),
    ]
    for what, packages in steps:
        say(f"Installing {what} (once) ...")
        unfinished = folder / UNFINISHED
        unfinished.touch()  # a kill between here and the end of pip may leave half a package
        try:
            run_pip(python, ["install", "--no-compile", *packages], f"installing {what}", say, folder / "sgool-pip.log")
        except SetupProblem:  # pip ended by itself and has tidied up: what was installed so far stays
            unfinished.unlink()
            raise
        unfinished.unlink()
    _write(marker, json.dumps(marks))


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, so that an interruption leaves the old or the new one."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
