"""Downloads, against a server on this machine that also misbehaves: whole files or none."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from sgool.saliency_models import registry
from sgool.saliency_models.download import download, git_blob
from sgool.saliency_models.entries import RemoteFile, Weights
from sgool.schema.weights import WeightsError

CONTENT = bytes(range(256)) * 12_000  # three chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT_BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT, and what its path asks for instead."""

    requests: list[str]

    def __init__(self, log: list[str], *arguments: object) -> None:
        self.requests = log
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404, "Not Found")
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("X-Linked-Etag", f'"{SHA256}"')
            self.send_header("Location", "/other")
            self.end_headers()
            return
        body = CONTENT[:-1] + b"!" if self.path == "/other" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:2_000_000] if self.path == "/broken" else body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    log: list[str] = []
    service = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, log))
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{service.server_port}", requests=log)
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


def weights(*remote: RemoteFile, folder: bool = False) -> Weights:
    return Weights("https://example.org/page", "3 MB", "MIT", "model" if folder else "model.pth", remote, folder)


def one(server: SimpleNamespace, path: str, size: int | None = None, sha256: str | None = None, git_id: str | None = None) -> Weights:
    return weights(RemoteFile("model.pth", server.url + path, size, sha256, git_id))


def test_downloads_checks_and_reports(server: SimpleNamespace, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    folder = tmp_path / "models" / "saliency"
    path = download(one(server, "/file", len(CONTENT), SHA256, GIT_BLOB), folder, lambda done, total: calls.append((done, total)))
    assert path == folder / "model.pth"
    assert path.read_bytes() == CONTENT
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert len(calls) == 3
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in folder.iterdir()] == ["model.pth"]


def test_what_is_there_is_not_fetched_again(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"mine")
    assert download(one(server, "/file"), tmp_path).read_bytes() == b"mine"
    assert server.requests == []


def test_folders_come_whole(server: SimpleNamespace, tmp_path: Path) -> None:
    files = (
        RemoteFile("model.safetensors", server.url + "/a", len(CONTENT), SHA256),
        RemoteFile("config.json", server.url + "/b", len(CONTENT)),
    )
    calls: list[tuple[int, int | None]] = []
    path = download(weights(*files, folder=True), tmp_path, lambda done, total: calls.append((done, total)))
    assert sorted(file.name for file in path.iterdir()) == ["config.json", "model.safetensors"]
    assert calls[-1] == (2 * len(CONTENT), 2 * len(CONTENT))


def test_a_folder_that_breaks_off_is_not_there_at_all(server: SimpleNamespace, tmp_path: Path) -> None:
    files = (RemoteFile("model.safetensors", server.url + "/a"), RemoteFile("config.json", server.url + "/missing"))
    with pytest.raises(WeightsError, match="answers 404"):
        download(weights(*files, folder=True), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "known", "words"),
    [
        ("/missing", {}, r"answers 404 \(Not Found\), not model.pth. Try again, or get it from https://example.org/page"),
        ("/broken", {}, "failed|broke off"),
        ("/broken", {"size": len(CONTENT)}, "failed|broke off"),
        ("/file", {"size": 10}, f"came with {len(CONTENT)} bytes instead of 10"),
        ("/other", {"sha256": SHA256}, f"not the published file: its SHA-256 is [0-9a-f]+, expected {SHA256}"),
        ("/other", {"git_id": GIT_BLOB}, f"not the published file: its Git id is [0-9a-f]+, expected {GIT_BLOB}"),
        # A checksum that the server itself publishes, where none is known beforehand.
        ("/moved", {}, "not the published file: its SHA-256"),
    ],
)
def test_nothing_is_left_of_a_download_that_fails(
    server: SimpleNamespace, tmp_path: Path, path: str, known: dict[str, object], words: str
) -> None:
    with pytest.raises(WeightsError, match=words):
        download(one(server, path, **known), tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


class Canceled(BaseException):
    """As ComfyUI's interrupt: not an Exception."""


def test_canceling_leaves_nothing(server: SimpleNamespace, tmp_path: Path) -> None:
    def cancel(done: int, _total: int | None) -> None:
        if done > 1_500_000:
            raise Canceled

    with pytest.raises(Canceled):
        download(one(server, "/file"), tmp_path, cancel)
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"Downloading model.pth .* failed \(ConnectionError\). Try again, or get it from"):
        download(weights(RemoteFile("model.pth", "http://127.0.0.1:1/file")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_full_disk(server: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=1_000_000))
    with pytest.raises(WeightsError, match=r"needs 3 MB, and .* has 1 MB left"):
        download(one(server, "/file", len(CONTENT)), tmp_path)
    assert server.requests == []


def test_weights_that_only_a_person_can_get(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be downloaded from here\. Get it from https://example.org/page"):
        download(weights(), tmp_path)


def test_git_id(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert git_blob(tmp_path / "empty") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # known to every Git user


def test_registered_addresses_are_pinned_and_checked() -> None:
    """A file that could change under its address could not be checked; each is of a fixed revision and has a checksum."""
    remote = [file for entry in registry.available() if entry.weights is not None for file in entry.weights.remote]
    assert len(remote) >= 4
    for file in remote:
        assert re.match(r"https://[^/]+/[^ ]+/[0-9a-f]{40}/[^ ]+$", file.url), file.url
        assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "") or re.fullmatch("[0-9a-f]{40}", file.git_blob or ""), file.name
    for entry in registry.available():
        if entry.weights is not None and entry.weights.remote and not entry.folder:
            assert [file.name for file in entry.weights.remote] == [entry.weights.filename]
