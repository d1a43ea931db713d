"""SGOOL Pick over a real server: who is asked, what is answered, and what happens where nobody answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import safetensors.torch
import torch
from sgool.comfy_bridge.picking import best
from sgool.comfy_bridge.questions import WRONG
from sgool.harness.client import ENDS, Client, Graph
from sgool.harness.server import Server

pytestmark = pytest.mark.server

COUNT, PAGE, LONG = 4, "somebody's page", 50
BEST_OF_N: Graph = {
    "1": {"class_type": "SGOOL_LoadDemoModel", "inputs": {}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "5": {"class_type": "SGOOL_SaliencyCLIPLoss", "inputs": {"reward": ["1", 3], "prompt": "a red circle"}},
    "all": {
        "class_type": "SGOOL_BestOfN",
        "inputs": {
            **{"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["4", 0], "vae": ["1", 2]},
            **{"steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "seed": 3, "denoise": 1.0},
            **{"objective": ["5", 0], "seeds": COUNT, "keep": COUNT, "halving": False},
        },
    },
}
SAVED: Graph = {
    "numbers": {"class_type": "PreviewAny", "inputs": {"source": ["pick", 2]}},
    "picked": {"class_type": "SaveLatent", "inputs": {"samples": ["pick", 0], "filename_prefix": "pick"}},
    "before": {"class_type": "SaveLatent", "inputs": {"samples": ["all", 0], "filename_prefix": "pick"}},
}
OnQuestion = Callable[[dict[str, Any]], list[dict[str, Any]]]


def picking(seconds: int, **more: Any) -> Graph:
    """Pick among four images of Best of N."""
    inputs = {"latent": ["all", 0], "images": ["all", 1], "keep": 1, "seconds": seconds, **more}
    return {**BEST_OF_N, **SAVED, "pick": {"class_type": "SGOOL_Pick", "inputs": inputs}}


class Run:
    """What happened in one: questions and their ends, what was said to each answer, the outputs or how it ended."""

    def __init__(self) -> None:
        self.asked, self.ended = list[dict[str, Any]](), list[dict[str, Any]]()
        self.said, self.why = list[str | None](), list[str | None]()
        self.outputs, self.end, self.seconds = dict[str, Any](), "", 0.0

    @property
    def numbers(self) -> list[int]:
        """Those that the node returned."""
        return [int(text) for text in self.outputs["numbers"]["text"]]


async def _followed(server: Server, graph: Graph, on_question: OnQuestion, page: bool) -> Run:
    run, flags = Run(), {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    async with aiohttp.ClientSession(server.url) as session, session.ws_connect(f"/ws?clientId={PAGE}", max_msg_size=0) as socket:
        if page:
            await socket.send_json(flags)  # as the page does first
            while "feature_flags" not in (await socket.receive()).data:
                pass
        began = time.monotonic()
        async with session.post("/prompt", json={"prompt": graph, "client_id": PAGE}) as answer:
            assert answer.status == 200, await answer.text()
            name = (await answer.json())["prompt_id"]
        while not run.end:
            message = await socket.receive(timeout=100)
            event = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {"type": "", "data": {}}
            if event["type"] == "sgool.pick":
                run.asked.append(event["data"])
                for each in on_question(event["data"]):
                    async with session.post("/sgool/pick", json=each) as answer:
                        document = await answer.json()
                        run.said.append(document.get("error"))
                        run.why.append(document.get("why"))
            if event["type"] == "sgool.picked":
                run.ended.append(event["data"])
            run.end = event["type"] if event["type"] in ENDS else ""
        run.seconds = time.monotonic() - began
    if run.end == "execution_success":
        run.outputs = await asyncio.to_thread(server.wait, name)  # the history comes a little later than the event
    return run


def followed(server: Server, graph: Graph, on_question: OnQuestion = lambda _: [], page: bool = True) -> Run:
    """Run a graph as the page does, answering questions with what ``on_question`` returns."""
    return asyncio.run(_followed(server, server.with_defaults(graph), on_question, page))


def answers(*numbers: int, done: bool = True) -> OnQuestion:
    return lambda asked: [{"question": asked["question"], "numbers": list(numbers), "done": done}]


def test_goes_on_with_what_was_picked(server: Server) -> None:
    run = followed(server, picking(LONG, scores=["all", 3]), answers(3, 1))
    assert run.end == "execution_success"
    assert run.seconds < LONG
    assert run.said == [None]
    assert run.numbers == [1, 3]
    (asked,), (ended,) = run.asked, run.ended
    assert (asked["node"], asked["seconds"], asked["best"]) == ("pick", LONG, [0])
    assert ended == {"question": asked["question"], "node": "pick", "numbers": [1, 3], "why": "picked"}
    assert [server.view(file).size for file in asked["images"]] == [(64, 64)] * COUNT
    captions = [caption.split(".  ") for caption in asked["captions"]]
    assert [number for number, _ in captions] == ["1", "2", "3", "4"]
    scores = [float(score) for _, score in captions]
    assert scores == sorted(scores, reverse=True)
    picked, before = (
        safetensors.torch.load(server.fetch(run.outputs[name]["latents"][0]))["latent_tensor"] for name in ("picked", "before")
    )
    assert torch.equal(picked, before[[1, 3]])


def test_asks_again_when_the_same_graph_runs_again(server: Server) -> None:
    first, again = (followed(server, picking(LONG), answers(number)) for number in (2, 0))
    assert (first.numbers, again.numbers) == ([2], [0])


@pytest.mark.parametrize(("clicked", "numbers"), [((), [0, 1]), ((3,), [3])], ids=["nothing", "one, but not done"])
def test_the_time_limit_ends_the_waiting(server: Server, clicked: tuple[int, ...], numbers: list[int]) -> None:
    run = followed(server, picking(1, keep=2), answers(*clicked, done=False) if clicked else lambda _: [])
    assert run.numbers == numbers
    assert run.ended[0]["why"] == "time over"
    assert run.seconds < 20


def test_a_click_begins_the_time_anew(server: Server) -> None:
    def late(asked: dict[str, Any]) -> list[dict[str, Any]]:
        time.sleep(1.5)
        return answers(2, done=False)(asked)

    run = followed(server, picking(2), late)
    assert run.numbers == [2]
    assert run.seconds > 3


@pytest.mark.parametrize("kind", ["no client", "a script", "no time"])
def test_nobody_who_cannot_answer_is_waited_for(server: Server, kind: str) -> None:
    graph = picking(0 if kind == "no time" else LONG, keep=2)
    if kind == "no client":
        began = time.monotonic()
        outputs = Client(server.url).run(server.with_defaults(graph))  # nobody listens under its id
        assert time.monotonic() - began < LONG / 2
        assert [int(text) for text in outputs["numbers"]["text"]] == [0, 1]
        return
    run = followed(server, graph, page=kind == "no time")
    assert run.asked == []
    assert run.numbers == [0, 1]
    assert run.seconds < LONG / 2


def test_cancel_ends_the_waiting_at_once(server: Server) -> None:
    canceled: list[float] = []

    def cancel(_: dict[str, Any]) -> list[dict[str, Any]]:
        server.interrupt()
        canceled.append(time.monotonic())
        return []

    run = followed(server, picking(LONG), cancel)
    assert run.end == "execution_interrupted"
    assert time.monotonic() - canceled[0] < 2  # .1 s to look, the rest for the server and this machine
    assert (run.ended[0]["numbers"], run.ended[0]["why"]) == (None, "canceled")
    assert server.get(f"/sgool/pick?client_id={PAGE.replace(' ', '%20')}") == []


def test_wrong_answers_get_a_sentence_and_change_nothing(server: Server) -> None:
    wrong: list[tuple[Any, str]] = [
        ({"numbers": [COUNT]}, "range"),
        ({"numbers": [-1]}, "range"),
        ({"numbers": []}, "none"),
        ({"numbers": ["1"]}, "malformed"),
        ({"numbers": [True]}, "malformed"),
        ({"numbers": [1], "done": "yes"}, "malformed"),
        ({}, "malformed"),
        ({"question": "pick", "numbers": [1]}, "closed"),  # the node's id, which is none of a question
    ]

    def all_of_them(asked: dict[str, Any]) -> list[dict[str, Any]]:
        right = answers(2)(asked)
        return [{"question": asked["question"], **each} for each, _ in wrong] + right + right

    run = followed(server, picking(LONG), all_of_them)
    numbers = [(each.get("numbers") or [None])[0] for each, _ in wrong]
    assert run.said[: len(wrong)] == [
        WRONG[why].format(number=number, count=COUNT) for number, (_, why) in zip(numbers, wrong, strict=True)
    ]
    assert run.said[len(wrong) :] == [None, WRONG["closed"]]
    assert run.why == [*(why for _, why in wrong), None, "closed"]
    assert run.numbers == [2]


def test_a_page_that_is_opened_anew_finds_what_is_still_asked(server: Server) -> None:
    found: list[list[dict[str, Any]]] = []

    def look(asked: dict[str, Any]) -> list[dict[str, Any]]:
        found.append(server.get(f"/sgool/pick?client_id={PAGE.replace(' ', '%20')}"))
        found.append(server.get("/sgool/pick?client_id=another"))
        return answers(1)(asked)

    run = followed(server, picking(LONG), look)
    (mine,), others = found
    assert others == []
    assert 0 < mine.pop("seconds") <= LONG
    assert mine.pop("numbers") == []
    assert mine.items() <= run.asked[0].items()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"images": ["fewer", 0]}, "There are 3 images for 4 latents"),
        ({"scores": ["one", 0]}, "There are 1 scores for 4 images"),
        ({"images": ["list", 0]}, "Pick takes one batch of images, but got a list of 2"),
    ],
)
def test_what_does_not_belong_together_is_said(server: Server, inputs: Graph, said: str) -> None:
    more: Graph = {
        "fewer": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 3, "color": 0}},
        "one": {"class_type": "PrimitiveFloat", "inputs": {"value": 0.5}},
        "list": {"class_type": "CreateList", "inputs": {"inputs.input0": ["fewer", 0], "inputs.input1": ["fewer", 0]}},
    }
    assert said in server.run_expecting_error(server.with_defaults(picking(0, **inputs) | more))


def test_the_best_are_those_with_the_highest_scores_and_the_first_without_any() -> None:
    scores = [0.1, float("nan"), 0.9, 0.5]
    assert best(scores, 4, 2) == [2, 3]
    assert best(scores, 4, 4) == [0, 1, 2, 3]
    assert best(None, 4, 2) == [0, 1]
    assert best(scores, 4, 9) == [0, 1, 2, 3]
