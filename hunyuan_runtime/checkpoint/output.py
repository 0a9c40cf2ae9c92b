"""A new model folder: each file whole or not at all, and so the folder.

Work lies in ``.OUT.partial`` beside ``OUT``: ``plan.json`` says of what, ``model/`` becomes ``OUT`` by a rename. A
rerun of the same work goes on with it; another one's is thrown away.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import Buffer

from hunyuan_runtime.checkpoint.headers import KINDS, Entry, read_header
from hunyuan_runtime.checkpoint.reader import DTYPES, NAMES
from hunyuan_runtime.termination import Cause, RuntimeFailure

INDEX = KINDS[0][1]
REPORT = "merge_report.json"
"""How a merged model or an adapter was made."""
REPORTS = frozenset({REPORT, "quantization_report.json"})
"""Not a part of the model, and untrue of what is made of it."""
SPARE = 64 << 20
"""Bytes for headers, indexes and reports."""
_HEADER_ALIGNMENT = 8
_READ_BYTES = 16 << 20


class OutputRefused(ValueError):
    """It can't be made as asked; the message says what to change."""


def partial_of(out: Path) -> Path:
    return out.parent / f".{out.name}.partial"


@contextmanager
def workplace(out: Path, fingerprint: str) -> Iterator[Path]:
    """The side folder of ``out``, for this process alone. Only work of this fingerprint is in it.

    Raises:
        OutputRefused: another process works there.

    """
    partial = partial_of(out)
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputRefused(f"another process is making {out} just now") from None
        plan = partial / "plan.json"
        if not plan.exists() or json.loads(plan.read_text()) != fingerprint:
            plan.unlink(missing_ok=True)
            for left in partial.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != "lock":
                    left.unlink()
            write_json(plan, fingerprint)
        yield partial


def model_in(partial: Path) -> Path:
    """The folder that becomes ``OUT``."""
    model = partial / "model"
    model.mkdir(exist_ok=True)
    return model


@contextmanager
def saving(out: Path) -> Iterator[None]:
    """Raise ``SaveFailed`` where the system refuses to write ``out``."""
    try:
        yield
    except OSError as error:
        raise RuntimeFailure(Cause.SaveFailed, f"{out} can't be written: {error}") from error


def publish(partial: Path, out: Path) -> None:
    """``OUT`` appears with all its files on the disk, and everybody may read it."""
    model = model_in(partial)
    model.chmod(0o755)
    _sync(model)
    model.rename(out)
    _sync(out.parent)
    shutil.rmtree(partial)


def is_free(out: Path) -> bool:
    """Whether the rename can succeed.

    Raises:
        OutputRefused: it never could.

    """
    if out.is_mount():
        raise OutputRefused(f"{out} is a volume's root, which can't appear whole: give a folder in it")
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def missing_bytes(partial: Path, source: Path, weights: int) -> tuple[int, int]:
    """Bytes that will still be written, and those that are free."""
    there = sum(path.stat().st_size for path in partial.rglob("*.safetensors"))
    others = sum(path.stat().st_size for path in other_files(source))
    return weights + others + SPARE - there, shutil.disk_usage(partial).free


def write_tensors(path: Path, entries: Mapping[str, Entry], get: Callable[[str], Tensor]) -> str:
    """A safetensors file, with one tensor in memory at a time; returns the file's SHA-256.

    ``get`` is called in the order of the file: wide dtypes first, so that every tensor is aligned, else as given.
    """
    digest = hashlib.sha256()
    names = sorted(entries, key=lambda name: -DTYPES[entries[name].dtype].itemsize)

    def write(at: Path) -> None:
        with at.open("wb") as file:
            for piece in _pieces(entries, names, get):
                file.write(piece)
                digest.update(piece)

    write_whole(path, write)
    return digest.hexdigest()


def _pieces(entries: Mapping[str, Entry], names: Iterable[str], get: Callable[[str], Tensor]) -> Iterator[Buffer]:
    yield _header(entries, names)
    for name in names:
        tensor = get(name)
        assert (NAMES[tensor.dtype], tuple(tensor.shape)) == entries[name]
        yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _header(entries: Mapping[str, Entry], names: Iterable[str]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        entry = entries[name]
        start, end = end, end + entry.elements * DTYPES[entry.dtype].itemsize
        header[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def is_whole(path: Path) -> bool:
    try:
        return path.exists() and bool(read_header(path))
    except RuntimeFailure:
        return False


def write_index(files: Iterable[str], folder: Path) -> None:
    headers = {name: read_header(folder / name) for name in files}
    total = sum(entry.size for header in headers.values() for entry in header.values())
    weight_map = {tensor: file for file, header in headers.items() for tensor in header}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def copy_others(source: Path, folder: Path) -> None:
    """Tokenizer, generation settings, licence: all that is neither weights nor about them."""
    for path in other_files(source):
        write_whole(folder / path.name, lambda at, path=path: shutil.copyfile(path, at))  # type: ignore[misc]


def other_files(source: Path) -> list[Path]:
    ours = {"config.json", *REPORTS, *(index for _, index in KINDS)}
    weights = {".safetensors", ".bin", ".pt", ".pth"}
    return [
        path
        for path in sorted(source.iterdir())
        if path.is_file() and path.name not in ours and path.suffix not in weights and not path.name.startswith(".")
    ]


def write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_whole(path, lambda at: at.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """The file appears with all its bytes on the disk, and everybody may read it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    write(unfinished)
    unfinished.chmod(0o644)
    _sync(unfinished)
    unfinished.replace(path)


def digest_of(folder: Path, known: Mapping[str, str]) -> str:
    """SHA-256 over the names and hashes of all files but reports; only those that aren't ``known`` are read."""
    hashes = {
        path.name: known.get(path.name) or file_hash(path) for path in folder.iterdir() if path.name not in REPORTS
    }
    return hashlib.sha256("".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()).hexdigest()


def file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """A file's bytes, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
