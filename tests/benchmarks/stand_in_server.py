"""As much of a ComfyUI server as a client talks to, which can go away in the middle of a run and come back having forgotten it."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StandIn:
    """A server on a port of its own, which it keeps when it is stopped and started again.

    Attributes:
        answer: what each run gives, or a function of the graph; None while it runs.
        delay: seconds that a run takes.
        dies_at: it goes away when it is asked for the outcome of this many runs (0: never).
        submitted: the graphs, in order. canceled: ids of runs.
    """

    def __init__(self, delay: float = 0.0, dies_at: int = 0) -> None:
        self.delay, self.dies_at = delay, dies_at
        self.refuses: dict[str, Any] | None = None
        self.fails = ""
        self.submitted: list[dict[str, Any]] = []
        self.canceled: list[str] = []
        self._runs: dict[str, float] = {}
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> StandIn:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(owner.get(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                self._reply(owner.post(self.path, body))

            def _reply(self, reply: tuple[int, Any] | None) -> None:
                if reply is None:  # the connection is broken off
                    self.close_connection = True
                    self.connection.close()
                    return
                content = json.dumps(reply[1]).encode()
                self.send_response(reply[0])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

            def finish(self) -> None:
                if not self.wfile.closed and not self.close_connection:
                    super().finish()

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass

        self._runs.clear()
        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def get(self, path: str) -> tuple[int, Any] | None:
        if path == "/system_stats":
            return 200, {"devices": [{"name": "a stand-in"}]}
        if path == "/queue":
            return 200, {"queue_running": [[0, run] for run in self._runs if not self._ended(run)], "queue_pending": []}
        run = path.removeprefix("/history/")
        if self.dies_at and len(self.submitted) >= self.dies_at:
            self.dies_at = 0
            threading.Thread(target=self.stop).start()
            return None
        if run not in self._runs or not self._ended(run):
            return 200, {}
        messages = []
        if self.fails:
            messages = [["execution_error", {"exception_message": self.fails, "node_id": "1", "node_type": "KSampler"}]]
        return 200, {run: {"outputs": {"by": {"port": self.port}}, "status": {"messages": messages}}}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/prompt":
            if self.refuses is not None:
                return 400, self.refuses
            self.submitted.append(body["prompt"])
            run = f"{self.port}-{len(self.submitted)}"
            self._runs[run] = time.monotonic()
            return 200, {"prompt_id": run}
        if path == "/interrupt":
            self.canceled.append(body["prompt_id"])
        return 200, {}

    def _ended(self, run: str) -> bool:
        return time.monotonic() - self._runs[run] >= self.delay
