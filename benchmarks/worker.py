"""A dask worker on this machine, for whatever measurement is started with ``--scheduler``.

    python run.py bench worker tcp://HOST:8786              more options are those of `dask worker`

It owns one ComfyUI server: the one that SGOOL_SERVER names, else one that it starts on the GPU that CUDA_VISIBLE_DEVICES shows it.
"""

from __future__ import annotations

from distributed.cli.dask_worker import main as dask_worker

from .common.spread import PRELOAD, without_main

OPTIONS = ["--preload", PRELOAD, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]


def main(arguments: list[str]) -> None:
    """Work until the scheduler ends. dask's own options come last, so that they win."""
    with without_main():
        dask_worker([*OPTIONS, *arguments], prog_name="run.py bench worker")
