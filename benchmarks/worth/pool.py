"""Run methods on prompts in several processes; what is on disk already is not run again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from .methods import Method
from .prompts import Prompt
from .results import Results
from .worker import Worker

CHUNK = 10
_worker: Any = None


def run_all(methods: Mapping[str, Method], prompts: Mapping[int, Prompt], results: Results, folder: Path, processes: int) -> None:
    """Everything that is missing, method by method, so that a run that is stopped leaves whole methods. ``prompts`` by their places."""
    jobs = [
        (name, method, chunk)
        for name, method in methods.items()
        for chunk in _chunks(sorted(prompts))
        if not results.has(method.fingerprint(), chunk)
    ]
    if not jobs:
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (folder,)) as pool:
        waiting = {pool.submit(_run, job[1], [prompts[place] for place in job[2]], job[2][0]): job for job in jobs}
        done = 0
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                name, method, chunk = waiting.pop(future)
                rows, images = future.result()
                results.add(method.fingerprint(), chunk[0], rows, images)
                done += 1
                right = sum(row["right"] for row in rows)
                print(f"{done} of {len(jobs)}: {name}, places {chunk[0]} to {chunk[-1]}: {right} of {len(rows)} right", flush=True)


def _chunks(places: Sequence[int]) -> Iterator[list[int]]:
    """Runs of at most ``CHUNK`` neighboring places; those of another seed stand apart."""
    chunk: list[int] = []
    for place in places:
        if chunk and (len(chunk) == CHUNK or place != chunk[-1] + 1):
            yield chunk
            chunk = []
        chunk.append(place)
    if chunk:
        yield chunk


def _start(folder: Path) -> None:
    global _worker  # noqa: PLW0603  (one for each process, made when it starts)
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    _worker = Worker(folder)


def _run(method: Method, prompts: Sequence[Prompt], first: int) -> Any:
    return _worker.run(method, prompts, first)
