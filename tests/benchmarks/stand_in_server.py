"""As much of a ComfyUI server as a client talks to while a graph runs, with faults."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StandIn:
    """A server on a port of its own.

    Attributes:
        delay: seconds that a run takes.
        breaks_off: so many questions for the outcome of a run get no answer.
        canceled: ids of runs.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay, self.breaks_off = delay, 0
        self.canceled: list[str] = []
        self._runs: dict[str, float] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if owner.breaks_off and self.path.startswith("/history"):
                    owner.breaks_off -= 1
                    self.close_connection = True
                    return
                self._reply(owner.get(self.path))

            def do_POST(self) -> None:
                self._reply(owner.post(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")))

            def _reply(self, reply: Any) -> None:
                content = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """As if it had been started anew."""
        self._runs.clear()

    def get(self, path: str) -> Any:
        if path == "/queue":
            return {"queue_running": [[0, run] for run in self._runs if not self._ended(run)], "queue_pending": []}
        run = path.removeprefix("/history/")
        return {run: {"outputs": {"by": {"port": self.port}}}} if run in self._runs and self._ended(run) else {}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/interrupt":
            self.canceled.append(body["prompt_id"])
        if path == "/prompt":
            self._runs[f"{self.port}-{len(self._runs) + 1}"] = time.monotonic()
        return {"prompt_id": f"{self.port}-{len(self._runs)}"}

    def _ended(self, run: str) -> bool:
        return time.monotonic() - self._runs[run] >= self.delay
