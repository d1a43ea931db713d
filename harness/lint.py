"""Style and type checks of the whole pack: ``python -m harness.lint``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .server import ROOT, show_pack_in

CACHE = ROOT / ".cache" / "mypy"


def main() -> int:
    """Run every check, also after one has failed; return how many failed."""
    with tempfile.TemporaryDirectory() as scratch:
        # The clone may have any name, which mypy would take for the package's.
        named = show_pack_in(Path(scratch))
        checks: list[tuple[Path, list[str]]] = [
            (ROOT, ["ruff", "check", "."]),
            (ROOT, ["ruff", "format", "--check", "."]),
            (named.parent, ["mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(CACHE), "-p", named.name]),
        ]
        failed = 0
        for folder, check in checks:
            print("$", check[0], *(check[1:] if check[0] == "ruff" else ["-p", named.name]), flush=True)
            failed += subprocess.run([sys.executable, "-m", *check], cwd=folder, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
