"""Talk to a running ComfyUI over its HTTP and websocket interface."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

from PIL import Image

from .object_info import options_of, widget_defaults
from .problems import SetupProblem

Graph = dict[str, dict[str, Any]]
OnEvent = Callable[[str, dict[str, Any]], None]
ENDS = ("execution_success", "execution_error", "execution_interrupted")
# What a server that is away, or goes away in the middle of an answer, looks like. A read that takes too long is an OSError too.
OUTAGE = (OSError, http.client.HTTPException, json.JSONDecodeError)


class RunFailed(Exception):
    """A graph that ComfyUI refused, that failed, or that was interrupted. The text is what the user would read.

    Attributes: ``node_id`` and ``node_type`` of the node at fault where known, ``interrupted``, ``traceback`` (a list of lines).
    """

    def __init__(self, message: str, node_id: str = "", node_type: str = "", *, interrupted: bool = False, traceback: Any = ()) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.node_type = node_type
        self.interrupted = interrupted
        self.traceback = list(traceback)


class RunLost(ConnectionError):
    """The server answers, but knows nothing of the run: it was restarted since, or its queue was cleared."""


def describe_outage(error: BaseException) -> str:
    """Why a server is away, in a few words. ``error`` is one of OUTAGE."""
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers with HTTP status {error.code}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, RunLost):
        return "it was restarted, or its queue was cleared"
    words: dict[type, str] = {
        ConnectionRefusedError: "nobody listens there",
        TimeoutError: "it does not answer in time",
        ConnectionResetError: "it broke the connection off",
    }
    return words.get(type(reason), str(reason) or type(reason).__name__)


class Client:
    """A ComfyUI server at ``url``, such as ``http://127.0.0.1:8188``.

    Attributes:
        left_out: what ComfyUI says of nodes that it refused in the last graph it queued, running the others all the same.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.left_out: list[str] = []
        self._id = uuid.uuid4().hex

    def run(self, graph: Graph, *, timeout: float = 300.0, on_event: OnEvent | None = None) -> dict[str, dict[str, Any]]:
        """Run an API-format graph to its end and return what its output nodes produced, by node id.

        ``on_event(kind, data)`` sees every message that ComfyUI sends about this run (``progress``, ``executing``...) as it comes.
        Raises RunFailed when the graph is refused, fails or is interrupted, TimeoutError after ``timeout`` seconds (the run is
        interrupted then).
        """
        if on_event is None:
            return self.wait(self.submit(graph), timeout=timeout)
        return asyncio.run(self._run_and_follow(graph, timeout, on_event))

    def run_expecting_error(self, graph: Graph, *, timeout: float = 300.0) -> str:
        """Run a graph that must fail, and return the message that the user reads."""
        try:
            outputs = self.run(graph, timeout=timeout)
        except RunFailed as failure:
            return str(failure)
        raise AssertionError(f"the graph was expected to fail, but gave {outputs}")

    def submit(self, graph: Graph) -> str:
        """Queue a graph and return the id of the run. Raises RunFailed when ComfyUI refuses it."""
        request = {"prompt": graph, "client_id": self._id}
        try:
            answer = self.post("/prompt", request)
        except urllib.error.HTTPError as error:
            if error.code != 400:  # from something before ComfyUI, or from one that is going down
                raise
            raise _refusal(json.loads(error.read() or b"{}")) from None
        self.left_out = _sentences(answer)
        return str(answer["prompt_id"])

    def wait(self, run: str, *, timeout: float = 300.0) -> dict[str, dict[str, Any]]:
        """Wait for a queued run and return its outputs. Raises what ``outcome`` raises, and TimeoutError as ``run`` does."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            outputs = self.outcome(run)
            if outputs is not None:
                return outputs
            time.sleep(0.05)
        self.interrupt()
        raise TimeoutError(f"the run did not end within {timeout:.0f} s")

    def outcome(self, run: str) -> dict[str, dict[str, Any]] | None:
        """The outputs of a queued run, or None while it waits or runs.

        Raises RunFailed as ``run`` does, RunLost when the server does not know the run (any more), and what OUTAGE lists when it is away.
        """
        outputs = self._finished(run)
        if outputs is None and not self._queued(run):
            outputs = self._finished(run)  # it may have ended between the two questions
            if outputs is None:
                raise RunLost(f"{self.url} does not know the run any more; was it restarted?")
        return outputs

    def cancel(self, run: str) -> None:
        """Take one run out of the queue, or interrupt it, and leave others alone."""
        self.post("/queue", {"delete": [run]})
        self.post("/interrupt", {"prompt_id": run})

    def interrupt(self) -> None:
        """Press the page's cancel button."""
        self.post("/interrupt", {})

    def object_info(self, node_id: str) -> dict[str, Any]:
        """What the server tells the page about a node. Raises KeyError for a node it does not have."""
        found: dict[str, Any] = self.get(f"/object_info/{urllib.parse.quote(node_id)}")
        return dict(found[node_id])

    def with_defaults(self, graph: Graph) -> Graph:
        """The graph, each required widget that is left out at its default."""
        required = {kind: self.object_info(kind)["input"] for kind in {node["class_type"] for node in graph.values()}}
        return {
            name: {**node, "inputs": {**widget_defaults(required[node["class_type"]], node["inputs"]), **node["inputs"]}}
            for name, node in graph.items()
        }

    def check(self, graph: Graph) -> None:
        """Raise SetupProblem where the graph has a node, an input or an option, such as a checkpoint, that the server does not have."""
        for node in graph.values():
            kind = node["class_type"]
            try:
                parts = self.object_info(kind)["input"]
            except KeyError:
                raise SetupProblem(f"it has no node {kind}; has it this version of the pack, and ComfyUI 0.30 or newer?") from None
            known = {**parts.get("required", {}), **parts.get("optional", {})}
            for name, value in node["inputs"].items():
                if name.partition(".")[0] not in known:
                    raise SetupProblem(f"its {kind} has no input {name!r}; is it this version of the pack?")
                options = options_of(known[name]) if name in known else []
                if options and not isinstance(value, list) and value not in options:
                    raise SetupProblem(f"it offers no {name} {value!r}, only: {', '.join(map(str, options))}")

    def fetch(self, file: dict[str, Any]) -> bytes:
        """The contents of a file named in an output: ``{"filename", "subfolder", "type"}``."""
        query = urllib.parse.urlencode({key: file.get(key, "") for key in ("filename", "subfolder", "type")})
        return self._open(f"/view?{query}")

    def view(self, file: dict[str, Any]) -> Image.Image:
        """An image named in an output."""
        image = Image.open(io.BytesIO(self.fetch(file)))
        image.load()
        return image

    def get(self, path: str) -> Any:
        """Fetch a JSON document."""
        return json.loads(self._open(path))

    def text(self, path: str) -> str:
        """Fetch a text document."""
        return self._open(path).decode("utf-8")

    def post(self, path: str, document: Any) -> Any:
        """Send a JSON document and return the JSON answer, or None where there is none."""
        request = urllib.request.Request(self.url + path, json.dumps(document).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def _open(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return bytes(answer.read())

    def _queued(self, run: str) -> bool:
        queue = self.get("/queue")
        return any(item[1] == run for part in ("queue_running", "queue_pending") for item in queue.get(part, ()))

    def _finished(self, run: str) -> dict[str, dict[str, Any]] | None:
        entry = self.get(f"/history/{run}").get(run)
        if entry is None:
            return None
        status = entry.get("status") or {}
        for kind, data in status.get("messages", ()):
            if kind == "execution_error":
                raise RunFailed(
                    str(data["exception_message"]).strip(), data["node_id"], data["node_type"], traceback=data.get("traceback", ())
                )
            if kind == "execution_interrupted":
                raise RunFailed("interrupted", data.get("node_id") or "", data.get("node_type") or "", interrupted=True)
        return dict(entry["outputs"])

    async def _run_and_follow(self, graph: Graph, timeout: float, on_event: OnEvent) -> dict[str, dict[str, Any]]:
        import aiohttp

        end = time.monotonic() + timeout
        address = f"{self.url}/ws?clientId={self._id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            run = await asyncio.to_thread(self.submit, graph)
            ended = False
            while time.monotonic() < end:
                try:
                    message = await socket.receive(timeout=0.05 if ended else 1.0)
                except asyncio.TimeoutError:  # nothing to read: perhaps the message about the end was lost
                    outputs = await asyncio.to_thread(self._finished, run)
                    if outputs is not None:
                        return outputs
                    continue
                if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                    raise RunFailed("the server closed the connection")
                event = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {}
                data = event.get("data") or {}
                if data.get("prompt_id") == run:
                    await asyncio.to_thread(on_event, event["type"], data)
                    ended = ended or event["type"] in ENDS
        self.interrupt()
        raise TimeoutError(f"the run did not end within {timeout:.0f} s")


def _refusal(answer: dict[str, Any]) -> RunFailed:
    """Gather ComfyUI's answer to a graph that does not validate into one text."""
    error = answer.get("error") or {}
    nowhere: tuple[str, dict[str, Any]] = ("", {})
    first_id, first = next(iter((answer.get("node_errors") or {}).items()), nowhere)
    lines = [_sentence(error) if isinstance(error, dict) else str(error), *_sentences(answer)]
    return RunFailed("\n".join(lines), first_id, first.get("class_type", ""))


def _sentences(answer: dict[str, Any]) -> list[str]:
    problems = (answer.get("node_errors") or {}).items()
    return [f"{each.get('class_type', node)}: {_sentence(item)}" for node, each in problems for item in each.get("errors", ())]


def _sentence(item: dict[str, Any]) -> str:
    return ": ".join(str(part) for part in (item.get("message"), item.get("details")) if part)
