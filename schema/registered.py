"""Finding what the files of a folder register, so that adding to it means adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any


def registered(path: Iterable[str], package: str | None) -> dict[str, Any]:
    """``NAME`` -> ``REGISTERED`` of every module in a package that has both, in the order of the file names."""
    found: dict[str, Any] = {}
    for info in sorted(pkgutil.iter_modules(path), key=lambda info: info.name):
        module = importlib.import_module(f".{info.name}", package)
        if hasattr(module, "REGISTERED"):
            if module.NAME in found:
                raise ImportError(f"{module.__name__} registers {module.NAME!r}, which another file of its folder has registered already.")
            found[module.NAME] = module.REGISTERED
    return found
