"""The global random generators of torch, Python and NumPy, so that what is run again draws the same."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


class RandomState:
    """The global generators as they were.

    Args:
        device: of whose CUDA generator the state is wanted; the current one, where CUDA is in use, without it.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._torch, self._python, self._numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
        in_use = torch.cuda.is_available() and torch.cuda.is_initialized() if device is None else device.type == "cuda"
        self._device = (device or torch.device("cuda", torch.cuda.current_device())) if in_use else None
        self._cuda = torch.cuda.get_rng_state(self._device) if self._device is not None else None

    def restore(self) -> None:
        """Set them to what they were; may be called any number of times."""
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        if self._cuda is not None and self._device is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)


@contextlib.contextmanager
def same_random_numbers() -> Iterator[RandomState]:
    """Put the global generators back when the context ends; yields what restores those of now."""
    before = RandomState()
    try:
        yield before
    finally:
        before.restore()
