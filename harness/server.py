"""A real, headless ComfyUI server in a process of its own, with the pack loaded as a custom node."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from .client import Client
from .in_process import make_base
from .launch import WATCH
from .problems import SetupProblem

ROOT = Path(__file__).resolve().parent.parent
NOT_THE_PACK = (".git", ".venv", ".comfyui", ".cache", "output", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis")


class Server(Client):
    """Use it in a ``with`` statement; outside of it no process is left, whatever happened inside.

    Args:
        comfyui: the ComfyUI to start.
        base: folder for its models, inputs, outputs and for ``server.log``; made where missing.
        port: 0 takes a free one.
        cpu: use the processor even where there is a GPU.
        arguments: more of ``main.py``'s own options.
        python: the interpreter with ComfyUI's requirements.
        folder: what the pack's folder in ``custom_nodes`` is called.
    """

    def __init__(
        self,
        comfyui: Path,
        base: Path,
        *,
        port: int = 0,
        cpu: bool = True,
        arguments: Sequence[str] = (),
        python: Path | str = sys.executable,
        folder: str = "sgool",
    ) -> None:
        self._folder = folder
        self.port = port or free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.comfyui = comfyui
        self.base = base.resolve()
        self.log = self.base / "server.log"
        options = ["--port", str(self.port), "--base-directory", str(self.base), "--disable-api-nodes", "--disable-auto-launch"]
        options += ["--database-url", "sqlite:///:memory:", *(["--cpu"] if cpu else []), *arguments]
        self._command = [str(python), "-m", "harness.launch", str(comfyui), *options]
        self._process: subprocess.Popen[bytes] | None = None
        self._log_file: IO[bytes] | None = None

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def start(self, timeout: float = 480.0) -> None:
        """Start the process and wait until it answers. Raises SetupProblem with the end of its log when it does not."""
        make_base(self.base)
        show_pack_in(self.base / "custom_nodes", name=self._folder)
        self._log_file = self.log.open("wb")
        environment = {**os.environ, WATCH: "1", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=self._log_file,
            stderr=subprocess.STDOUT,
            # Its own process group: Ctrl-C reaches this process alone, which then stops the server in order.
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        end = time.monotonic() + timeout
        while not self._answers():
            if self._process.poll() is not None:
                raise SetupProblem(f"ComfyUI ended while starting; the end of {self.log}:\n{self.tail()}")
            if time.monotonic() > end:
                raise SetupProblem(f"ComfyUI did not answer within {timeout:.0f} s; the end of {self.log}:\n{self.tail()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the process, kindly first. Does nothing when there is none."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.terminate()
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            finally:
                if process.stdin is not None:
                    process.stdin.close()
        if self._log_file is not None:
            self._log_file.close()
            self._log_file = None

    def wait_for_end(self) -> int:
        """Wait until the process ends by itself and return its exit status."""
        return self._process.wait() if self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = 40) -> str:
        """The last lines of the server's log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _answers(self) -> bool:
        try:
            self.get("/system_stats")
        except (urllib.error.URLError, OSError):
            return False
        return True


def stop_on_signals() -> None:
    """Let Ctrl-C and a request to terminate unwind the ``with`` block, also where this process was started with them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def show_pack_in(custom_nodes: Path, pack: Path = ROOT, name: str = "sgool") -> Path:
    """Make the pack appear as ``custom_nodes/NAME``: by a link, by a junction on Windows, else as a copy. Returns that path."""
    shown = custom_nodes / name
    if shown.exists() and not shown.is_symlink() and not is_junction(shown):
        shutil.rmtree(shown)  # an earlier copy, perhaps out of date
    if shown.exists():
        return shown
    shown.unlink(missing_ok=True)  # a link into nothing
    try:
        shown.symlink_to(pack, target_is_directory=True)
    except OSError:  # Windows wants a privilege for links, and none for junctions
        try:
            import _winapi

            _winapi.CreateJunction(str(pack), str(shown))  # type: ignore[attr-defined]
        except (ImportError, OSError):
            shutil.copytree(pack, shown, ignore=shutil.ignore_patterns(*NOT_THE_PACK))
    return shown


def is_junction(path: Path) -> bool:
    """Whether ``path`` is a Windows junction, which is no symbolic link to Python."""
    return os.path.realpath(path) != os.path.join(os.path.realpath(path.parent), path.name)
