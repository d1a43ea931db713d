"""Fetching weights, when and only when the user asks for it: whole, checked, and with nothing left behind where it fails."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..schema.weights import WeightsError
from .entries import RemoteFile, Weights

Progress = Callable[[int, int | None], None]
"""``(bytes so far, bytes in all or None)``; may raise to stop the download."""

_CHUNK = 1 << 20
_CONNECT_SECONDS, _READ_SECONDS = 15, 60
_SPARE_BYTES = 64 << 20


def download(weights: Weights, folder: Path, progress: Progress | None = None) -> Path:
    """Bring weights into ``folder`` under their file name, or return them if they are there.

    They are written beside their place and moved there when complete and checked: by size and SHA-256, or Git object id, where these
    are known beforehand, else by what the server says of them. However it ends, no part of a file stays.

    Args:
        weights: of an entry of the registry, with ``remote`` files.
        folder: made if missing, as ComfyUI's ``models/saliency``.
        progress: called after each megabyte. Whatever it raises ends the download, cleanly.

    Returns:
        the path of the file, or of the folder for weights that are several files.

    Raises:
        WeightsError: nothing to download from, no connection, an answer other than the file, a wrong size or checksum, a full disk.
    """
    target = folder / weights.filename
    if target.exists():
        return target
    if not weights.remote:
        raise WeightsError(f"{weights.filename} cannot be downloaded from here. Get it from {weights.where}, and put it into {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(folder, weights)
    report = _Report(progress, weights.bytes)
    # Beside its place, so that moving it there is one step of the file system.
    workplace = Path(tempfile.mkdtemp(prefix=f".{weights.filename}.", suffix=".part", dir=folder))
    try:
        for remote in weights.remote:
            _fetch(remote, workplace / remote.name, report, weights)
        os.replace(workplace if weights.folder else workplace / weights.remote[0].name, target)
    except OSError as error:
        raise WeightsError(
            f"{weights.filename} could not be written to {folder}: {error}. Free some space, or check its permissions."
        ) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return target


class _Report:
    """Adds up the bytes of several files."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)


def _check_space(folder: Path, weights: Weights) -> None:
    free = shutil.disk_usage(folder).free
    if weights.bytes is not None and free < weights.bytes + _SPARE_BYTES:
        raise WeightsError(
            f"{weights.filename} needs {weights.bytes / 1e6:.0f} MB, and {folder} has {free / 1e6:.0f} MB left. "
            "Free some space, or add a folder on another disk to extra_model_paths.yaml."
        )


def _fetch(remote: RemoteFile, path: Path, report: _Report, weights: Weights) -> None:
    import requests

    by_hand = f"Try again, or get it from {weights.where}."
    try:
        # Unpacked bytes, so that they can be counted.
        with requests.get(
            remote.url, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS), headers={"Accept-Encoding": "identity"}
        ) as answer:
            if answer.status_code != requests.codes.ok:
                raise WeightsError(f"{remote.url} answers {answer.status_code} ({answer.reason}), not {remote.name}. {by_hand}")
            expected = _expected(remote, answer)
            if report.total is None and len(weights.remote) == 1:
                report.total = expected.bytes
            found = _write(answer.iter_content(_CHUNK), path, report)
    except requests.RequestException as error:
        raise WeightsError(f"Downloading {remote.name} from {remote.url} failed ({type(error).__name__}). {by_hand}") from error
    _compare(expected, found, by_hand)


def _expected(remote: RemoteFile, answer: Any) -> RemoteFile:
    """What is known of the file; of what is not, what the server says (hubs send the SHA-256 of large files)."""
    length = answer.headers.get("Content-Length")
    size = remote.bytes if remote.bytes is not None else int(length) if length else None
    published = [page.headers.get("X-Linked-Etag", "").strip('"') for page in (*answer.history, answer)]
    sha256 = remote.sha256 or next((tag for tag in published if re.fullmatch("[0-9a-f]{64}", tag)), None)
    return RemoteFile(remote.name, remote.url, size, sha256, remote.git_blob)


def _write(chunks: Iterator[bytes], path: Path, report: _Report) -> RemoteFile:
    """Write the chunks and return the file's size and checksums."""
    sha256, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            sha256.update(chunk)
            size += len(chunk)
            report.add(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    return RemoteFile(path.name, "", size, sha256.hexdigest(), git_blob(path))


def git_blob(path: Path) -> str:
    """Return the id under which Git stores the content of the file: SHA-1 of a header with its size, and the content."""
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            blob.update(chunk)
    return blob.hexdigest()


def _compare(expected: RemoteFile, found: RemoteFile, by_hand: str) -> None:
    if expected.bytes is not None and expected.bytes != found.bytes:
        raise WeightsError(f"{expected.name} came with {found.bytes} bytes instead of {expected.bytes}: the download broke off. {by_hand}")
    for kind, wanted, got in (("SHA-256", expected.sha256, found.sha256), ("Git id", expected.git_blob, found.git_blob)):
        if wanted is not None and wanted != got:
            raise WeightsError(f"{expected.name} is not the published file: its {kind} is {got}, expected {wanted}. {by_hand}")
