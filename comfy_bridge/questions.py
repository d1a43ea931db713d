"""Asks the person at the page which images to go on with, and waits for the answer: not for ever, and not where nobody could answer.

What goes between server and page:

- event ``sgool.pick``: ``{question, node, images, captions, best, seconds}``, where ``images`` are files as ``/view`` takes them.
- POST ``/sgool/pick`` with ``{question, numbers, done}``: the images picked, from 0. With ``done`` false they are noted, and the time
  limit begins anew, since somebody is there. Returns ``{seconds}`` that are left, or ``{error, why}`` with status 400: a sentence, and
  which of the ``WRONG`` it is, for a page that says it in its own language.
- GET ``/sgool/pick?client_id=``: what is still asked, for a page that was opened anew.
- event ``sgool.picked``: ``{question, node, numbers, why}`` when the node goes on; ``numbers`` is null where the run was canceled.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management

from .server_events import node_that_runs, server

PATH = "/sgool/pick"
POLL = 0.1
"""Seconds after which a waiting node looks whether its run was canceled."""
WRONG = {
    "closed": "This question is closed: it was answered, its time was over, or its run was canceled.",
    "malformed": "An answer is a JSON object with the texts 'question' and a list 'numbers' of whole numbers.",
    "none": "Pick at least one image.",
    "range": "There is no image {number}: the {count} images are numbered from 0.",
}
"""Of answers that cannot be taken, what is wrong with them."""


class WrongAnswer(ValueError):
    """An answer that cannot be taken; ``why`` is one of the ``WRONG``, the text says it."""

    def __init__(self, why: str, **numbers: int) -> None:
        super().__init__(WRONG[why].format(**numbers))
        self.why = why


@dataclass
class Question:
    """One that the page shows.

    Attributes:
        count: of images.
        seconds: of the time limit.
        event: what the page is told.
        client: the page's id.
        numbers: picked so far.
        until: when its time is over, by the monotonic clock.
        answered: set when it is.
    """

    count: int
    seconds: float
    event: dict[str, Any]
    client: str
    numbers: list[int] = field(default_factory=list)
    until: float = 0.0
    answered: threading.Event = field(default_factory=threading.Event)

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self.until - time.monotonic())

    def waits(self) -> None:
        """Its time begins, perhaps anew."""
        self.until = time.monotonic() + self.seconds


_open: dict[str, Question] = {}


def can_be_asked() -> bool:
    """Whether the run was begun by a page that is still open.

    Scripts follow a run by a websocket too. A page says on its websocket which features it knows, scripts say nothing, and are not kept
    waiting for an answer that they do not know how to give.
    """
    known = getattr(server(), "sockets_metadata", {})
    return bool(known.get(getattr(server(), "client_id", None), {}).get("feature_flags"))


def ask(count: int, seconds: float, shown: dict[str, Any]) -> tuple[list[int], str]:
    """Ask which of ``count`` images to go on with.

    Args:
        count: of images.
        seconds: until it goes on without an answer.
        shown: what else the page is told.

    Returns:
        The numbers picked, from 0, in the images' order; empty where nobody picked any. Then why it went on, for the page.

    Raises:
        comfy.model_management.InterruptProcessingException: the run was canceled.
    """
    name, page, node = uuid.uuid4().hex, server().client_id, node_that_runs()
    event = {**shown, "question": name, "node": node, "seconds": seconds}
    question = _open[name] = Question(count, seconds, event, page)
    ended: dict[str, Any] = {"question": name, "node": node, "numbers": None, "why": "canceled"}
    try:
        question.waits()
        server().send_sync("sgool.pick", event, page)
        in_time = _answered(question)
        ended |= {"numbers": sorted(question.numbers), "why": "picked" if in_time else "time over"}
        return ended["numbers"], ended["why"]
    finally:
        del _open[name]
        server().send_sync("sgool.picked", ended, page)


def _answered(question: Question) -> bool:
    """Wait until it is answered, or its time is over."""
    while not question.answered.wait(POLL):
        comfy.model_management.throw_exception_if_processing_interrupted()
        if not question.left:
            return False
    return True


def answer(document: Any) -> float:
    """Take an answer and return the seconds that are left for another one.

    Raises:
        WrongAnswer: for a closed question, for numbers that are none of an image, and for none at all when done.
    """
    numbers, done = (document.get("numbers"), document.get("done", True)) if isinstance(document, dict) else (None, None)
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers) or not isinstance(done, bool):
        raise WrongAnswer("malformed")
    question = _open.get(str(document.get("question")))
    if question is None or question.answered.is_set():
        raise WrongAnswer("closed")
    for number in numbers:
        if not 0 <= number < question.count:
            raise WrongAnswer("range", number=number, count=question.count)
    if done and not numbers:
        raise WrongAnswer("none")
    question.numbers = sorted(set(numbers))
    question.waits()
    if done:
        question.answered.set()
    return question.left


def open_questions(client: str) -> list[dict[str, Any]]:
    """The events of a page's open questions, with the seconds that are left of each."""
    return [{**each.event, "seconds": each.left, "numbers": each.numbers} for each in list(_open.values()) if each.client == client]


def add_routes() -> None:
    """Let the page answer. Nothing where there is no server.

    Nothing either where a second copy of the pack has done it: a route twice would keep ComfyUI from starting.
    """
    if server() is None or any(getattr(route, "path", "") == PATH for route in server().routes):
        return
    from aiohttp import web

    async def post(request: web.Request) -> web.Response:
        try:
            return web.json_response({"seconds": answer(await request.json())})
        except ValueError as wrong:  # one of ours, or no JSON
            refused = wrong if isinstance(wrong, WrongAnswer) else WrongAnswer("malformed")
            return web.json_response({"error": str(refused), "why": refused.why}, status=400)

    async def get(request: web.Request) -> web.Response:
        return web.json_response(open_questions(request.query.get("client_id", "")))

    server().routes.post(PATH)(post)
    server().routes.get(PATH)(get)
