"""The one kind of failure that the entry script reports as a sentence instead of a traceback."""

from __future__ import annotations


class SetupProblem(Exception):
    """Something outside this repository is missing or broken. The message says what, and what to do about it."""
