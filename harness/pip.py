"""Run pip, and turn what it says when it fails into one sentence."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .problems import SetupProblem

Say = Callable[[str], None]
NETWORK = re.compile(
    r"NewConnectionError|Failed to establish|Connection (?:refused|reset|broken|aborted|timed out)|name resolution|getaddrinfo"
    r"|Name or service not known|ReadTimeout|ConnectTimeout|Max retries|ProxyError|SSLError|Network is unreachable|Could not fetch URL",
    re.IGNORECASE,
)
NOT_FOUND = re.compile(r"No matching distribution found for ([^\s(]+)")
FULL = re.compile(r"No space left on device|Errno 28|not enough space on the disk", re.IGNORECASE)
DAMAGED = re.compile(r"IncompleteRead|BadZipFile|DO NOT MATCH THE HASHES|Invalid wheel|is not a zip file", re.IGNORECASE)


def disk_full(folder: Path) -> SetupProblem:
    """What to say when ``folder`` lies on a full disk."""
    return SetupProblem(f"the disk that holds {folder} is full; free some 4 GB, or set SGOOL_HOME to a folder elsewhere, and run again.")


def is_disk_full(error: OSError) -> bool:
    """Whether an OSError means that there is no room left."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))


def pip(python: Path, arguments: Sequence[str], what: str, say: Say, log: Path | None = None) -> None:
    """Run ``python -m pip ARGUMENTS``, naming the larger downloads as they come.

    Raises SetupProblem with one sentence when pip fails; everything it said is in ``log``.
    """
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONUNBUFFERED": "1"}
    environment.pop("PIP_USER", None)  # "install into the user's folder" contradicts a virtual environment
    command = [str(python), "-m", "pip", *arguments, "--retries", "2", "--progress-bar", "off"]
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            size = re.match(r"\s*Downloading (\S+) .*\((\d+(?:\.\d+)? (?:MB|GB))\)", line)
            if size and float(size[2].split()[0]) >= 10:
                say(f"  downloading {size[1].rsplit('/', 1)[-1]} ({size[2]})")
    if log is not None:
        with log.open("a", encoding="utf-8") as sink:
            sink.writelines([f"$ pip {' '.join(arguments)}\n", *lines])
    if process.returncode:
        raise SetupProblem(explain("".join(lines), what, python.parent, log))


def explain(output: str, what: str, folder: Path, log: Path | None = None) -> str:
    """The sentence for the user when pip failed with ``output`` while doing ``what``."""
    if FULL.search(output):
        return str(disk_full(folder))
    missing = NOT_FOUND.search(output)
    if NETWORK.search(output):
        return f"no package index could be reached for {what}; connect to the network (or set pip's index or proxy) and run again."
    if missing:
        version = ".".join(str(part) for part in sys.version_info[:2])
        return (
            f"the package index has no {missing[1]} for Python {version} on this machine ({sys.platform}), or pip may use none "
            "(PIP_NO_INDEX); try another Python from 3.10 on, or check pip's index settings."
        )
    if DAMAGED.search(output):
        return f"a download broke off during {what}; run again."
    errors = [line.strip() for line in output.splitlines() if line.strip().lower().startswith("error")] or [output.strip()[-300:]]
    return f"pip failed during {what}: {errors[-1].rstrip('.')}" + (f"; all it said is in {log}." if log else ".")
