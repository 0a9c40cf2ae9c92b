"""Lines of a file by number, however large the file: what is kept is where each ends, 8 bytes a line.

Files are read, not mapped: a mapped file that is cut while it is in use kills the process, a read one gives an error.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hunyuan_runtime.termination import Cause, RuntimeFailure

_BLOCK = 1 << 20
_NAMED = 10


def check_file(path: Path) -> None:
    """Raise ``DataNotFound`` where the file can't be read, with what is there instead."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise RuntimeFailure(Cause.DataNotFound, _why(path, error)) from error


class Lines:
    """Lines without their ends, counted from 0. Blank lines at the end of the file are none.

    Raises:
        RuntimeFailure: ``DataNotFound``: there is no such file, or it can't be read.

    """

    def __init__(self, path: Path) -> None:
        check_file(path)
        self.path = path
        self._ends = _line_ends(path)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        start = int(self._ends[index - 1]) if index else 0
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), int(self._ends[index]) - start, start).rstrip(b"\r\n")

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            for line in islice(file, len(self)):
                yield line.rstrip(b"\r\n")


def _line_ends(path: Path) -> NDArray[np.int64]:
    """Where each line ends, its line feed included."""
    ends = []
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + (size + 1))
            size += len(block)
        known: NDArray[np.int64] = np.concatenate([*ends, np.array([size])])
        count = len(known)
        while count:
            start = int(known[count - 2]) if count > 1 else 0
            file.seek(start)
            if file.read(int(known[count - 1]) - start).strip():
                break
            count -= 1
    return known[:count].copy()


def _why(path: Path, error: OSError) -> str:
    """Why there is no file to read, and what there is instead."""
    if isinstance(error, FileNotFoundError):
        return f"{path} doesn't exist{_holds(path.parent)}"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not a file{_holds(path)}"
    return f"{path} can't be read as user {os.getuid()}: {error.strerror}"


def _holds(folder: Path) -> str:
    there = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), None)
    if there is None:
        return ""
    try:
        names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in there.iterdir())
    except OSError as error:
        return f"; {there} can't be listed: {error.strerror}"
    return f"; {there} holds {', '.join(names[:_NAMED]) or 'nothing'}{', …' if len(names) > _NAMED else ''}"
