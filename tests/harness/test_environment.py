"""Making the environment: once, safely, and with a sentence when it cannot be done."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sgool.harness import environment
from sgool.harness.pip import explain, pip
from sgool.harness.problems import SetupProblem

RunPip = Callable[..., None]


class FakePip:
    """Stands for pip: remembers what it was asked to install, and fails on demand."""

    def __init__(self, fail_at: str = "", failure: BaseException | None = None) -> None:
        self.installed: list[list[str]] = []
        self.fail_at, self.failure = fail_at, failure

    def __call__(self, python: Path, arguments: list[str], what: str, say: object, log: Path) -> None:
        if self.failure is not None and self.fail_at in what:
            raise self.failure
        self.installed.append(arguments)


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A home of its own with a ComfyUI, and virtual environments without pip, which are made in no time."""
    tree = tmp_path / "ComfyUI"
    for part in ("main.py", "nodes.py", "comfy/samplers.py"):
        (tree / part).parent.mkdir(parents=True, exist_ok=True)
        (tree / part).touch()
    (tree / "requirements.txt").write_text("torch\ntorchaudio\neinops\n# a comment\nspandrel\nav>=16.0.0 # why\n")
    monkeypatch.setattr(environment, "VENV", ("-m", "venv", "--without-pip"))
    return {"SGOOL_HOME": str(tmp_path / "home"), "COMFYUI_PATH": str(tree)}


def ready(environ: dict[str, str], run_pip: RunPip) -> tuple[Path, list[str]]:
    said: list[str] = []
    python, _ = environment.ready(said.append, environ, run_pip)
    return python, said


def test_torch_is_installed_first_and_by_version(environ: dict[str, str]) -> None:
    run_pip = FakePip()
    python, _ = ready(environ, run_pip)
    assert subprocess.run([str(python), "-c", ""], check=False).returncode == 0
    assert run_pip.installed[0][-1] == environment.TORCH
    assert run_pip.installed[1][-2:] == ["--no-deps", environment.TORCHVISION]
    assert run_pip.installed[2][-2:] == ["einops", "av>=16.0.0"]
    assert not any("torchaudio" in argument or "spandrel" in argument for call in run_pip.installed for argument in call)


def test_the_second_start_installs_and_says_nothing(environ: dict[str, str]) -> None:
    ready(environ, FakePip())
    again = FakePip()
    assert ready(environ, again)[1] == []
    assert again.installed == []


def test_other_requirements_are_installed_into_the_same_environment(environ: dict[str, str]) -> None:
    python, _ = ready(environ, FakePip())
    requirements = Path(environ["COMFYUI_PATH"]) / "requirements.txt"
    requirements.write_text(requirements.read_text() + "blake3\n")
    again = FakePip()
    assert ready(environ, again)[0] == python
    assert "blake3" in again.installed[2]


@pytest.mark.parametrize("step", ["torch", "ComfyUI's requirements", "the tools of the tests"])
def test_after_a_failure_the_next_run_completes_the_same_environment(environ: dict[str, str], step: str) -> None:
    with pytest.raises(SetupProblem, match="no network"):
        ready(environ, FakePip(step, SetupProblem("no network")))
    again = FakePip()
    assert not any("interrupted" in line for line in ready(environ, again)[1])
    assert len(again.installed) == 4


def test_after_an_interruption_the_next_run_starts_over(environ: dict[str, str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        ready(environ, FakePip("ComfyUI's requirements", KeyboardInterrupt()))
    half = Path(environ["SGOOL_HOME"]) / ".venv" / "half-a-package"
    half.touch()
    again = FakePip()
    assert "interrupted" in ready(environ, again)[1][0]
    assert len(again.installed) == 4
    assert not half.exists()


def test_somebody_elses_environment_is_left_alone(environ: dict[str, str]) -> None:
    theirs = Path(environ["SGOOL_HOME"]) / ".venv" / "theirs"
    theirs.mkdir(parents=True)
    with pytest.raises(SetupProblem, match=r"not of run\.py's making"):
        ready(environ, FakePip())
    assert theirs.exists()


def test_a_removed_python_is_noticed(environ: dict[str, str]) -> None:
    python, _ = ready(environ, FakePip())
    python.unlink()
    again = FakePip()
    assert ready(environ, again)[0] == python
    assert len(again.installed) == 4


def test_a_full_disk_is_a_sentence(environ: dict[str, str]) -> None:
    with pytest.raises(SetupProblem, match="is full; free some"):
        ready(environ, FakePip("torch", OSError(errno.ENOSPC, "No space left on device")))


def test_a_python_without_venv_is_a_sentence(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "VENV", ("-m", "no_such_module"))
    with pytest.raises(SetupProblem, match="cannot make virtual environments"):
        ready(environ, FakePip())
    assert not (Path(environ["SGOOL_HOME"]) / ".venv").exists()


def test_a_disk_too_full_for_a_virtual_environment_is_a_sentence(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "VENV", ("-m", "no_such_module"))
    monkeypatch.setattr(environment, "ROOM_FOR_PIP", 1 << 60)
    with pytest.raises(SetupProblem, match="is full; free some"):
        ready(environ, FakePip())


def test_the_interpreter_is_found_on_windows_too(tmp_path: Path) -> None:
    assert environment.python_of(tmp_path, windows=True).parts[-2:] == ("Scripts", "python.exe")
    assert environment.python_of(tmp_path, windows=False).parts[-2:] == ("bin", "python")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("WARNING: Retrying ... NewConnectionError('Failed to establish a new connection')", "no package index"),
        ("ERROR: No matching distribution found for torch==2.13.0", "has no torch==2.13.0 for Python 3."),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "broke off"),
        ("collecting\nERROR: something else.\n", "pip failed during installing it: ERROR: something else."),
    ],
)
def test_what_pip_says_becomes_one_sentence(output: str, sentence: str, tmp_path: Path) -> None:
    explained = explain(output, "installing it", tmp_path)
    assert sentence in explained
    assert "\n" not in explained


def test_no_index_is_a_sentence_with_the_real_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SetupProblem, match="PIP_NO_INDEX"):
        pip(Path(sys.executable), ["download", "--no-deps", "sgool-no-such-package"], "a test", lambda _: None)


def test_an_unreachable_index_is_a_sentence_with_the_real_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "nothing")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(SetupProblem, match="no package index could be reached for a test"):
        pip(Path(sys.executable), ["download", "--no-deps", "sgool-no-such-package"], "a test", lambda _: None)


@pytest.mark.parametrize(("arguments", "sentence"), [(["nonsense"], "there is no command"), (["bench", "none"], "bench takes the name")])
def test_the_entry_script_fails_with_one_line(arguments: list[str], sentence: str) -> None:
    done = subprocess.run([sys.executable, str(environment.ROOT / "run.py"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
