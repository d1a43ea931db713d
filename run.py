#!/usr/bin/env python3
"""Run the demo, the tests or ComfyUI with this pack. Needs nothing but Python 3.10+ and, the first time, a package index.

    python run.py demo              plain sampling beside SGOOL on the demo model, in a headless ComfyUI; images go to output/
    python run.py test              the fast tests (--all for all of them; more arguments go to pytest)
    python run.py serve             ComfyUI with the pack in the browser (--port, --no-browser, --gpu)
    python run.py workflow FILE     run an API-format workflow without a browser; what it makes goes to output/
    python run.py bench NAME        one of the measurements in benchmarks/
    python run.py train             train the demo model again
    python run.py python SCRIPT     any script, with the pack as `sgool` and ComfyUI importable
    python run.py lint              the style and type checks
    python run.py template NAME     workflows/NAME.json, for the page, from workflows/api/NAME.json (needs Chromium)
    python run.py thumbnail NAME    workflows/NAME.jpg, for the template browser, from a run of workflows/api/NAME.json, or of its graph
    python run.py help_images       the small graphs in web/docs/, from the templates that the help pages link to (needs Chromium)
    python run.py screenshots       the images in docs/page.md, of the page in use (needs Chromium)
    python run.py locales           locales/, for the page in other languages, from harness/translations/
    python run.py setup             only make the environment

The first start makes a virtual environment in .venv and finds a ComfyUI (COMFYUI_PATH, then a folder around this one, then the package
index); later starts use both as they are. SGOOL_HOME names another folder for the two, which several clones can share.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - and this file must parse wherever it can be said
    sys.exit("run.py: Python 3.10 or newer is needed, and this is %d.%d; try: python3.12 run.py" % sys.version_info[:2])  # noqa: UP031

import os
import signal
import subprocess
from pathlib import Path

from harness.environment import ready
from harness.problems import SetupProblem

ROOT = Path(__file__).resolve().parent


def say(line: str) -> None:
    """Tell the user what is going on, apart from what commands print as their result."""
    print(line, file=sys.stderr, flush=True)


def command_line(command: str, arguments: list[str]) -> list[str]:
    """What the interpreter of the environment is asked to run. Raises SetupProblem for a command that does not exist."""
    # The command runs in this folder: what names a file in the caller's folder is named in full.
    arguments = [str(Path(argument).resolve()) if Path(argument).is_file() else argument for argument in arguments]
    if command == "test":
        rest = [argument for argument in arguments if argument != "--all"]
        return ["-m", "pytest", *(["-m", ""] if "--all" in arguments else []), *rest]
    if command in ("demo", "lint", "serve", "template", "thumbnail", "help_images", "screenshots", "workflow"):
        return ["-m", f"harness.{command}", *arguments]
    if command == "locales":
        return ["-m", "harness.script", "sgool.harness.locales", *arguments]
    if command == "train":
        return ["-m", "harness.script", "sgool.demo.train", *arguments]
    if command == "python" and arguments:
        return ["-m", "harness.script", *arguments]
    if command == "bench":
        known = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("_"))
        if not arguments or arguments[0] not in known:
            raise SetupProblem(f"bench takes the name of a measurement: {', '.join(known) or 'there is none yet'}.")
        return ["-m", "harness.script", "sgool.benchmarks", *arguments]
    raise SetupProblem(f"there is no command {' '.join([command, *arguments])!r}; python run.py --help lists them.")


def environment_of(command: str, comfyui: Path) -> dict[str, str]:
    """What the command finds in its environment."""
    # Threads that share the work on a miniature network wait for each other: far longer than one takes, where other programs are busy.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")} if command in ("demo", "test") else {}
    return {**os.environ, **threads, "COMFYUI_PATH": str(comfyui), "SGOOL_CALLED_FROM": os.getcwd()}


def become(command: list[str], environment: dict[str, str]) -> int:
    """Go on as ``command`` in this folder. On Windows, which cannot, wait for it and leave Ctrl-C to it."""
    if os.name != "nt":
        os.chdir(ROOT)
        os.execve(command[0], command, environment)
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return process.wait()


def main(arguments: list[str]) -> int:
    """Run one command; return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    try:
        line = [] if arguments[0] == "setup" else command_line(arguments[0], arguments[1:])
        python, comfyui = ready(say)
        if not line:
            say(f"Ready: {python}, with the ComfyUI in {comfyui}.")
            return 0
        return become([str(python), *line], environment_of(arguments[0], comfyui))
    except SetupProblem as problem:
        say(f"run.py: {problem}")
    except KeyboardInterrupt:
        say("run.py: interrupted; the next run picks up from here.")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
