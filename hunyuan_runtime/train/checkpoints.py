"""Checkpoints as files: which are complete, which is used, which are removed.

A folder is a checkpoint once it holds the manifest, which is written last, after every rank's files are on the disk.
Whatever else is in it, a folder without one is what a save left that didn't end. Imports neither torch nor DeepSpeed.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train_config import MANIFEST

FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d{8,})")
_RANK = re.compile(r"zero_pp_rank_(\d+)_")
_CHUNK = 8 * 2**20


class File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What a checkpoint holds, and where in the run it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(ge=1, description="optimizer steps done")
    world_size: int = Field(ge=1, description="ranks whose shards these are")
    batch: int = Field(ge=1, description="examples a step, which stay for the whole run")
    tokens: int = Field(ge=0, description="trained on so far")
    loss: float
    files: dict[str, File]

    @property
    def position(self) -> int:
        """Of the first example that isn't trained on yet, in the data's order."""
        return self.step * self.batch

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


class CheckpointDamaged(Exception):
    """A complete checkpoint can't be used; the message names what of it."""


def folder_name(step: int) -> str:
    return f"step-{step:08d}"


def steps(root: Path) -> list[int]:
    """Of all folders, complete or not, newest first."""
    if not root.is_dir():
        return []
    found = (match for path in root.iterdir() if (match := _NAME.fullmatch(path.name)))
    return sorted((int(match[1]) for match in found), reverse=True)


def is_complete(root: Path, step: int) -> bool:
    return (root / folder_name(step) / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Of a complete checkpoint whose files have their sizes.

    Raises:
        CheckpointDamaged: it can't be used.

    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text())
    except (OSError, ValidationError, ValueError) as error:
        raise CheckpointDamaged(f"{folder.name}/{MANIFEST} can't be read: {str(error).splitlines()[0]}") from error
    for name, file in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise CheckpointDamaged(f"{folder.name}/{name}: {error.strerror}") from error
        if size != file.size:
            raise CheckpointDamaged(f"{folder.name}/{name} has {size} bytes, not {file.size}")
    return manifest


def candidates(root: Path) -> tuple[list[Manifest], list[str]]:
    """Complete checkpoints, newest first, and what is wrong with those that can't be used."""
    usable: list[Manifest] = []
    damaged: list[str] = []
    for step in steps(root):
        if is_complete(root, step):
            try:
                usable.append(read_manifest(root / folder_name(step)))
            except CheckpointDamaged as damage:
                damaged.append(str(damage))
    return usable, damaged


def share(names: Iterable[str], rank: int, ranks: int) -> list[str]:
    """The files that a rank answers for: its own shards, by DeepSpeed's names; what is nobody's goes round."""
    mine = []
    for index, name in enumerate(sorted(names)):
        owner = int(match[1]) if (match := _RANK.search(name)) else index
        if owner % ranks == rank:
            mine.append(name)
    return mine


def check_hashes(folder: Path, manifest: Manifest, names: Sequence[str]) -> None:
    """Read the files.

    Raises:
        CheckpointDamaged: one isn't what was written.

    """
    for name in names:
        if digest(folder / name) != manifest.files[name].sha256:
            raise CheckpointDamaged(f"{folder.name}/{name} has another hash than when it was written")


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def record(folder: Path, names: Iterable[str]) -> dict[str, File]:
    """Sizes and hashes of files that this rank wrote, which are on the disk afterwards."""
    files = {}
    for name in names:
        _sync(folder / name)
        files[name] = File(size=(folder / name).stat().st_size, sha256=digest(folder / name))
    return files


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make the folder a checkpoint, at once and for good."""
    path = folder / MANIFEST
    part = path.with_suffix(".part")
    part.write_text(manifest.model_dump_json(indent=1))
    _sync(part)
    part.rename(path)
    _sync(folder)


def prune(root: Path, newest: int, keep: int) -> list[int]:
    """Keep ``keep`` checkpoints up to ``newest``, which was just made; returns the steps of what was removed.

    What has a later step is of a line of the run that was given up: its checkpoint was damaged.
    """
    complete = [step for step in steps(root) if step <= newest and is_complete(root, step)]
    removed = [step for step in steps(root) if step not in complete[:keep]]
    for step in removed:
        remove(root / folder_name(step))
    return removed


def remove_incomplete(root: Path) -> None:
    """What saves left that didn't end: no use, and in the way of the next."""
    for step in steps(root):
        if not is_complete(root, step):
            remove(root / folder_name(step))


def remove(folder: Path) -> None:
    """The manifest first: half a folder must never look complete."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def require_space(root: Path, needed: int, free: int) -> None:
    """Before a save begins.

    Raises:
        RuntimeFailure: ``SaveFailed``.

    """
    if needed > free:
        raise RuntimeFailure(Cause.SaveFailed, f"{root}: a checkpoint needs {needed} bytes, but {free} are free")


def free_bytes(root: Path) -> int:
    return shutil.disk_usage(root).free


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
