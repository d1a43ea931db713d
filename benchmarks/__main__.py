"""Starts one of the measurements beside this file: ``python run.py bench NAME``.

Each is a module whose docstring is its help, with ``add_options(parser)`` and ``main(options)``; without the first, ``main`` gets the
arguments as they are.
"""

from __future__ import annotations

from argparse import ArgumentParser, RawTextHelpFormatter
from importlib import import_module

from sgool.harness.problems import exit_with
from sgool.harness.server import stop_on_signals


def main(arguments: list[str]) -> int:
    """Run the one that is named first, with the other arguments."""
    name, *rest = arguments
    module = import_module(f".{name}", __package__)
    if not hasattr(module, "add_options"):
        return module.main(rest) or 0
    parser = ArgumentParser(prog=f"run.py bench {name}", description=module.__doc__, formatter_class=RawTextHelpFormatter)
    module.add_options(parser)
    module.main(parser.parse_args(rest))
    return 0


if __name__ == "__main__":
    stop_on_signals()
    exit_with(main, stopped="stopped; the same command goes on from here.")
