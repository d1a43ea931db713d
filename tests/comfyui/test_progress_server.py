"""What the server sends of a run's progress over its websocket: one bar from its first message to its last, and text for the node."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from typing import Any

import aiohttp
import pytest
from sgool.harness.client import ENDS, Graph
from sgool.harness.server import Server

pytestmark = pytest.mark.server

TEXT = 3  # protocol.BinaryEventTypes

DEMO: Graph = {
    "1": {"class_type": "SGOOL_LoadDemoModel", "inputs": {}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "5": {"class_type": "SGOOL_SaliencyCLIPLoss", "inputs": {"reward": ["1", 3], "prompt": "a red circle"}},
    "out": {"class_type": "SaveLatent", "inputs": {"samples": ["run", 0], "filename_prefix": "progress"}},
}
STEPS = 2
ENDS_OF_IT = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
NUMBERS = {"steps": STEPS, "cfg": 2.0, "sampler_name": "heun", "scheduler": "normal", "seed": 3, "denoise": 1.0}
JUDGED = {"objective": ["5", 0], "vae": ["1", 2]}
PRESET = {"preset": "search first", "preset.iterations": 1, "held_out": ["5", 0]}
WRAPPED: Graph = {
    "6": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "7": {"class_type": "BasicScheduler", "inputs": {"model": ["1", 0], "scheduler": "normal", "steps": STEPS, "denoise": 1.0}},
    "8": {"class_type": "SGOOL_Sampler", "inputs": {"sampler": ["6", 0], **JUDGED, "preset": "balanced", "preset.iterations": 1}},
    "9": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["2", 0]}},
    "10": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
}
SAMPLED = {"noise": ["10", 0], "guider": ["9", 0], "sampler": ["8", 0], "sigmas": ["7", 0], "latent_image": ["4", 0]}
HALVING = {"seeds": 4, "keep": 1, "halving": True}
MANY = HALVING | {"seeds": 32}  # core sends a message in 100 ms at most: a short run would hardly be seen to move
NODES: dict[str, Graph] = {
    "ksampler": {"run": {"class_type": "SGOOL_KSampler", "inputs": {**ENDS_OF_IT, **NUMBERS, **JUDGED, **PRESET}}},
    "sampler": WRAPPED | {"run": {"class_type": "SamplerCustomAdvanced", "inputs": SAMPLED}},
    "best of n": {"run": {"class_type": "SGOOL_BestOfN", "inputs": {**ENDS_OF_IT, **NUMBERS, **JUDGED, **MANY}}},
    "best of n over a sampler": WRAPPED | {"run": {"class_type": "SGOOL_BestOfNAdvanced", "inputs": {**SAMPLED, **JUDGED, **HALVING}}},
}


async def followed(server: Server, graph: Graph) -> tuple[list[tuple[float, float]], list[str]]:
    """Value and end of each message about the bar of the node ``run``, and each text for it."""
    bars, texts, client = list[tuple[float, float]](), list[str](), "progress"
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/ws?clientId={client}", max_msg_size=0) as socket:
        async with session.post(f"{server.url}/prompt", json={"prompt": graph, "client_id": client}) as answer:
            assert answer.status == 200, await answer.text()
        while True:
            message = await socket.receive(timeout=100)
            if message.type == aiohttp.WSMsgType.BINARY:
                kind, length = struct.unpack(">II", message.data[:8])
                if kind == TEXT and message.data[8 : 8 + length] == b"run":
                    texts.append(message.data[8 + length :].decode())
                continue
            event = json.loads(message.data)
            data: dict[str, Any] = event["data"]
            if event["type"] == "progress" and data["node"] == "run":
                bars.append((data["value"], data["max"]))
            if event["type"] in ENDS:
                assert event["type"] == "execution_success", data
                return bars, texts


@pytest.mark.parametrize("kind", NODES)
def test_one_bar_from_the_first_message_to_the_last(server: Server, kind: str) -> None:
    bars, texts = asyncio.run(followed(server, server.with_defaults(DEMO | NODES[kind])))
    values, (end,) = [value for value, _ in bars], {most for _, most in bars}
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, end)
    assert max(after - before for before, after in itertools.pairwise(values)) < 0.5 * end  # it moves in between
    assert "best" in texts[-1]
    assert texts[-1].startswith("Done")
    assert "took" in texts[-1]
