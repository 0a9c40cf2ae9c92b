"""Checkpoints as files: what is one, which is used, what is removed."""

from pathlib import Path

import pytest

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train import checkpoints
from hunyuan_runtime.train.checkpoints import CheckpointDamaged, Manifest, folder_name
from hunyuan_runtime.train_config import MANIFEST

SHARDS = tuple(f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(2))


def make(root: Path, step: int, *, complete: bool = True) -> Path:
    folder = root / folder_name(step)
    folder.mkdir(parents=True)
    for name in SHARDS:
        (folder / name).write_bytes(f"{name} at {step}".encode())
    if complete:
        files = checkpoints.record(folder, SHARDS)
        manifest = Manifest(step=step, world_size=2, batch=4, tokens=10 * step, loss=1.5, files=files)
        checkpoints.write_manifest(folder, manifest)
    return folder


def test_the_newest_complete_checkpoint_is_the_first_choice(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        make(tmp_path, step)
    make(tmp_path, 20, complete=False)
    usable, damaged = checkpoints.candidates(tmp_path)
    assert [manifest.step for manifest in usable] == [15, 10, 5]
    assert damaged == []
    assert usable[0].position == 60, "the first example that isn't trained on yet"


def test_before_the_first_save_there_is_none(tmp_path: Path) -> None:
    assert checkpoints.candidates(tmp_path / "nothing") == ([], [])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / SHARDS[1]).write_bytes(b"short"), f"{SHARDS[1]} has 5 bytes, not 47"),
        (lambda folder: (folder / SHARDS[0]).unlink(), f"{SHARDS[0]}: No such file or directory"),
        (lambda folder: (folder / MANIFEST).write_text("{"), f"{MANIFEST} can't be read"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"), f"{MANIFEST} can't be read"),
    ],
    ids=["a file is cut short", "a file is gone", "the manifest is torn", "the manifest is no text"],
)
def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(damage: object, words: str, tmp_path: Path) -> None:
    make(tmp_path, 5)
    damage(make(tmp_path, 10))  # type: ignore[operator]  # a function of the table
    usable, damaged = checkpoints.candidates(tmp_path)
    assert [manifest.step for manifest in usable] == [5]
    [told] = damaged
    assert words in told
    assert told.startswith("step-00000010/")


def test_what_only_a_hash_can_tell_is_told_by_it(tmp_path: Path) -> None:
    folder = make(tmp_path, 5)
    text = (folder / SHARDS[0]).read_bytes()
    (folder / SHARDS[0]).write_bytes(text.replace(b"5", b"6"))
    manifest = checkpoints.read_manifest(folder)
    checkpoints.check_hashes(folder, manifest, [SHARDS[1]])
    with pytest.raises(CheckpointDamaged, match=f"{SHARDS[0]} has another hash"):
        checkpoints.check_hashes(folder, manifest, [SHARDS[0]])


def test_old_ones_go_and_so_does_what_a_given_up_line_of_the_run_left(tmp_path: Path) -> None:
    for step in (5, 10, 15, 30):
        make(tmp_path, step)
    make(tmp_path, 12, complete=False)
    assert checkpoints.prune(tmp_path, newest=15, keep=2) == [30, 12, 5]
    assert checkpoints.steps(tmp_path) == [15, 10]


def test_only_what_is_incomplete_makes_room_for_the_next(tmp_path: Path) -> None:
    make(tmp_path, 5)
    make(tmp_path, 10, complete=False)
    checkpoints.remove_incomplete(tmp_path)
    assert checkpoints.steps(tmp_path) == [5]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_file_has_one_rank_that_answers_for_it(ranks: int) -> None:
    names = [*SHARDS, "mp_rank_00_model_states.pt"]
    shares = [checkpoints.share(names, rank, ranks) for rank in range(ranks)]
    assert sorted(name for part in shares for name in part) == sorted(names)
    if ranks == 2:
        assert SHARDS[1] in shares[1], "its own, which it has just written"


def test_a_disk_without_room_is_told_before_it_is_full(tmp_path: Path) -> None:
    checkpoints.require_space(tmp_path, needed=10, free=10)
    with pytest.raises(RuntimeFailure, match=f"{tmp_path}: a checkpoint needs 11 bytes, but 10 are free") as failure:
        checkpoints.require_space(tmp_path, needed=11, free=10)
    assert failure.value.cause is Cause.SaveFailed
