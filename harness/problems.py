"""The one kind of failure that the entry script reports as a sentence instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn


class SetupProblem(Exception):
    """Something outside this repository is missing or broken. The message says what, and what to do about it."""


def exit_with(main: Callable[[list[str]], int], *problems: type[Exception], stopped: str = "stopped.") -> NoReturn:
    """Run a command with this process's arguments and end with its status; a ``SetupProblem``, ``problems`` or Ctrl-C as a sentence."""
    expected: tuple[type[Exception], ...] = (SetupProblem, *problems)
    try:
        sys.exit(main(sys.argv[1:]))
    except expected as problem:
        sys.exit(f"run.py: {problem}")
    except KeyboardInterrupt:
        sys.exit(f"\nrun.py: {stopped}")
