"""Checkpoints of a running engine: all ranks together, DeepSpeed's shards plus our manifest."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train import checkpoints
from hunyuan_runtime.train.checkpoints import CheckpointDamaged, Manifest

UNIVERSAL = "universal"
"""Beside the checkpoints while shards of one world size are read by another."""
_BYTES_A_PARAMETER = 16
"""Of what is trained: master weight and two moments in fp32, the weight itself, and some room."""

T = TypeVar("T")


def from_rank_0(make: Callable[[], T]) -> T:
    """What rank 0 makes, or raises, on every rank."""
    made: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            made = [make()]
        except RuntimeFailure as failure:
            made = [failure]
    dist.broadcast_object_list(made, src=0)
    if isinstance(made[0], RuntimeFailure):
        raise made[0]
    result: T = made[0]
    return result


def save(engine: Any, root: Path, manifest: Manifest, keep: int) -> Manifest:
    """``manifest`` without files → with them, once the checkpoint is complete; older ones are gone then.

    Raises:
        RuntimeFailure: ``SaveFailed``; nothing of the new checkpoint is left.

    """
    folder = root / checkpoints.folder_name(manifest.step)
    from_rank_0(lambda: _make_room(root, folder, _needed(engine, root)))
    try:
        engine.save_checkpoint(str(root), tag=folder.name, save_latest=False, exclude_frozen_parameters=True)
        names = [path.name for path in folder.iterdir() if path.is_file()]
        mine = checkpoints.record(folder, checkpoints.share(names, dist.get_rank(), dist.get_world_size()))
    except (OSError, RuntimeError) as error:  # torch tells a full disk as a RuntimeError
        if is_loss_of_peer(error):
            raise
        failure = _failure(root, folder, error)
        checkpoints.remove(folder)
        raise failure from error
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    complete = manifest.model_copy(update={"files": {name: file for part in parts for name, file in part.items()}})
    from_rank_0(lambda: _finish(root, folder, complete, keep))
    return complete


def is_loss_of_peer(error: BaseException) -> bool:
    """Whether it is for want of another rank that a collective operation failed."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _needed(engine: Any, root: Path) -> int:
    """Bytes of a checkpoint: as many as the last one's, or a careful estimate of the first's."""
    usable, _ = checkpoints.candidates(root)
    if usable:
        return usable[0].size
    trained = (parameter for parameter in engine.module.parameters() if parameter.requires_grad)
    return sum(int(getattr(parameter, "ds_numel", parameter.numel())) for parameter in trained) * _BYTES_A_PARAMETER


def _make_room(root: Path, folder: Path, needed: int) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        checkpoints.remove_incomplete(root)
        checkpoints.remove(folder)
        checkpoints.require_space(root, needed, checkpoints.free_bytes(root))
    except OSError as error:
        raise RuntimeFailure(Cause.SaveFailed, f"{root}: {error.strerror or error}") from error


def _finish(root: Path, folder: Path, manifest: Manifest, keep: int) -> None:
    try:
        checkpoints.write_manifest(folder, manifest)
        checkpoints.prune(root, manifest.step, keep)
    except OSError as error:
        failure = _failure(root, folder, error)
        checkpoints.remove(folder)
        raise failure from error


def _failure(root: Path, folder: Path, error: Exception) -> RuntimeFailure:
    words = str(error).splitlines()[0]
    return RuntimeFailure(Cause.SaveFailed, f"{folder}: {words} ({checkpoints.free_bytes(root)} bytes are free)")


def newest(root: Path) -> tuple[Manifest | None, list[str]]:
    """The newest checkpoint that is what was written, the same on every rank, and what is wrong with newer ones."""
    usable, damaged = from_rank_0(lambda: checkpoints.candidates(root))
    for manifest in usable:
        words = _damage(root / checkpoints.folder_name(manifest.step), manifest)
        if not words:
            return manifest, damaged
        damaged.append(words)
    return None, damaged


def _damage(folder: Path, manifest: Manifest) -> str:
    """What any rank finds in its own files; empty if all are well."""
    mine = checkpoints.share(manifest.files, dist.get_rank(), dist.get_world_size())
    found: list[Any] = [None] * dist.get_world_size()
    words = ""
    try:
        checkpoints.check_hashes(folder, manifest, mine)
    except (OSError, CheckpointDamaged) as damage:
        words = str(damage)
    dist.all_gather_object(found, words)
    return next(filter(None, found), "")


def load(engine: Any, root: Path, manifest: Manifest) -> None:
    """Weights and optimizer as they were, on as many ranks as there are now."""
    tag = checkpoints.folder_name(manifest.step)
    if universal := manifest.world_size != dist.get_world_size():
        from_rank_0(lambda: _to_universal(root, tag))
        tag = UNIVERSAL
    engine.load_checkpoint(str(root), tag=tag, load_module_strict=False, load_lr_scheduler_states=False)
    _count_apart(engine.basic_optimizer)
    dist.barrier()
    if universal and dist.get_rank() == 0:
        shutil.rmtree(root / UNIVERSAL, ignore_errors=True)
        (root / "latest_universal").unlink(missing_ok=True)


def _count_apart(optimizer: torch.optim.Optimizer) -> None:
    """DeepSpeed gives all groups the same counter of steps from a universal checkpoint, and each of them moves it."""
    for state in optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()


def _to_universal(root: Path, tag: str) -> None:
    """DeepSpeed's own converter, whose interface is its command line's."""
    from deepspeed.checkpoint import ds_to_universal  # noqa: PLC0415 - slow, and seldom needed

    shutil.rmtree(root / UNIVERSAL, ignore_errors=True)
    options = argparse.Namespace(
        input_folder=str(root / tag),
        output_folder=str(root / UNIVERSAL),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    try:
        ds_to_universal.main(options)
    except OSError as error:
        raise RuntimeFailure(Cause.SaveFailed, f"{root / UNIVERSAL}: {error}") from error
