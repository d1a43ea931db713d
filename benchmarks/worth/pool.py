"""Run methods on prompts in several processes; what is on disk already is not run again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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


def run_all(methods: Mapping[str, Method], prompts: Sequence[Prompt], results: Results, folder: Path, processes: int) -> None:
    """Everything that is missing, method by method, so that a run that is stopped leaves whole methods."""
    jobs = [
        (name, method, first)
        for name, method in methods.items()
        for first in range(0, len(prompts), CHUNK)
        if not results.has(method.fingerprint(), range(first, min(first + CHUNK, len(prompts))))
    ]
    if not jobs:
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (folder,)) as pool:
        waiting = {pool.submit(_run, method, prompts[first : first + CHUNK], first): (name, method, first) for name, method, first in jobs}
        done = 0
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                name, method, first = waiting.pop(future)
                rows, pictures = future.result()
                results.add(method.fingerprint(), first, rows, pictures)
                done += 1
                right = sum(row["right"] for row in rows)
                print(f"{done} of {len(jobs)}: {name}, prompts {first + 1} to {first + len(rows)}: {right} right", flush=True)


def _start(folder: Path) -> None:
    global _worker  # noqa: PLW0603  (one for each process, made when it starts)
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    _worker = Worker(folder)


def _run(method: Method, prompts: Sequence[Prompt], first: int) -> Any:
    return _worker.run(method, prompts, first)
