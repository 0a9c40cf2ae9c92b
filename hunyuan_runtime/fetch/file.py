"""One file of a snapshot: fetched from where the last try ended, compared with its digest, moved to its place."""

import hashlib
import os
import threading
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from hunyuan_runtime.fetch.hub import Again, Hub, RemoteFile
from hunyuan_runtime.fetch.waits import Patience, Waits
from hunyuan_runtime.termination import Cause, RuntimeFailure

CHUNK = 1 << 20
_SHA1_LENGTH = 40
_DAMAGED_LIMIT = 3
"""A file that arrives damaged so often is damaged at its source."""


class Stopped(Exception):
    """Another file failed, or the whole fetch is over."""


@dataclass(kw_only=True)
class Tally:
    """Bytes on the volume, of all files together."""

    total: int
    done: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count


@dataclass(frozen=True, kw_only=True)
class FileFetcher:
    hub: Hub
    commit: str
    folder: Path
    parts: Path
    tally: Tally

    def present(self, file: RemoteFile) -> int:
        """Bytes of it that are on the volume already."""
        whole = self.folder / file.name
        return file.size if whole.exists() else min(_size(self.parts / file.name), file.size)

    def fetch(self, file: RemoteFile, patience: Patience) -> None:
        """Returns when the file is in its place.

        Raises:
            RuntimeFailure: it can't be had.
            OSError: the volume fails.
            Stopped: ``tally.stop`` was set.

        """
        whole, part = self.folder / file.name, self.parts / file.name
        if whole.exists() and _size(whole) == file.size:
            self.tally.add(file.size)  # only compared files have this name
            return
        whole.unlink(missing_ok=True)
        self.tally.add(_size(part))
        waits, damaged = Waits(patience), 0
        while True:
            try:
                self._complete(file, part, waits)
            except Again as error:
                if self.tally.stop.wait(waits.next(error)):
                    raise Stopped from error
                continue
            if digest_of(part, len(file.digest)) == file.digest:
                _settle(part, whole)
                return
            damaged += 1
            self._drop(part)
            if damaged == _DAMAGED_LIMIT:
                raise RuntimeFailure(
                    Cause.FetchFailed, f"{file.path} doesn't have the digest {file.digest}, {damaged} times in a row"
                )

    def _complete(self, file: RemoteFile, part: Path, waits: Waits) -> None:
        """Append what is missing. Raises Again when the connection ends before that."""
        offset = _size(part)
        if offset > file.size:
            self._drop(part)
            offset = 0
        if offset == file.size:
            part.touch()
            return
        with self.hub.open(file, self.commit, offset) as answer:
            if offset and answer.status != 206:  # the hub can't begin in the middle
                self._drop(part)
            self._append(answer, part, waits)
        if _size(part) < file.size:
            raise Again(f"{file.path}: the connection ended after {_size(part)} of {file.size} bytes")

    def _append(self, answer: HTTPResponse, part: Path, waits: Waits) -> None:
        with part.open("ab", buffering=0) as out:
            while True:
                try:
                    chunk = answer.read1(CHUNK)
                except (OSError, HTTPException) as error:
                    raise Again(f"{part.name}: {error}") from error
                if not chunk:
                    return
                if self.tally.stop.is_set():
                    raise Stopped
                out.write(chunk)
                self.tally.add(len(chunk))
                waits.progressed()

    def _drop(self, part: Path) -> None:
        self.tally.add(-_size(part))
        part.unlink(missing_ok=True)


def _settle(part: Path, whole: Path) -> None:
    """Give it its name once its bytes are on the volume: a node that loses power must not leave a name without them."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(whole)


def digest_of(path: Path, length: int) -> str:
    """sha256, or git's sha1 of a file (with its header) where the digest has that length."""
    digest = hashlib.sha256()
    if length == _SHA1_LENGTH:
        digest = hashlib.sha1(f"blob {_size(path)}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
