"""Saving and choosing checkpoints, with a played engine: one rank, real files."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train import checkpoints, saving
from hunyuan_runtime.train.checkpoints import Manifest, folder_name

SHARD = "zero_pp_rank_0_mp_rank_00_optim_states.pt"


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A group of one rank."""
    store = tmp_path_factory.mktemp("store") / "file"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class PlayedEngine:
    """Saves as torch does."""

    def __init__(self, size: int = 1000) -> None:
        self.module = nn.Linear(10, 10, bias=False)
        self.size = size

    def save_checkpoint(self, root: str, *, tag: str, **_: Any) -> None:
        folder = Path(root, tag)
        folder.mkdir()
        torch.save(torch.zeros(self.size, dtype=torch.uint8), folder / SHARD)


def manifest(step: int) -> Manifest:
    return Manifest(step=step, world_size=1, batch=2, tokens=10, loss=0.5, files={})


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """A write beyond fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_save_is_complete_and_older_ones_are_gone(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        made = saving.save(PlayedEngine(), tmp_path, manifest(step), keep=2)
    assert checkpoints.steps(tmp_path) == [3, 2]
    assert set(made.files) == {SHARD}
    assert saving.newest(tmp_path) == (made, [])


def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    good = saving.save(PlayedEngine(), tmp_path, manifest(1), keep=2)
    saving.save(PlayedEngine(), tmp_path, manifest(2), keep=2)
    shard = tmp_path / folder_name(2) / SHARD
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    found, damaged = saving.newest(tmp_path)
    assert found == good
    assert damaged == [f"{folder_name(2)}/{SHARD} has another hash than when it was written"]


def test_a_write_that_fails_is_told_with_place_and_room_and_leaves_nothing(tmp_path: Path) -> None:
    saving.save(PlayedEngine(), tmp_path, manifest(1), keep=2)
    with files_up_to(100_000), pytest.raises(RuntimeFailure) as failure:
        saving.save(PlayedEngine(1_000_000), tmp_path, manifest(2), keep=2)
    assert failure.value.cause is Cause.SaveFailed
    assert str(tmp_path / folder_name(2)) in str(failure.value)
    assert "bytes are free" in str(failure.value)
    assert checkpoints.steps(tmp_path) == [1]


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "free_bytes", lambda _: 1599)
    with pytest.raises(RuntimeFailure, match="needs 1600 bytes, but 1599 are free") as failure:
        saving.save(PlayedEngine(), tmp_path, manifest(1), keep=2)
    assert failure.value.cause is Cause.SaveFailed
    assert checkpoints.steps(tmp_path) == []


def test_the_next_is_expected_to_be_as_large_as_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = saving.save(PlayedEngine(), tmp_path, manifest(1), keep=2)
    monkeypatch.setattr(checkpoints, "free_bytes", lambda _: made.size - 1)
    with pytest.raises(RuntimeFailure, match=f"needs {made.size} bytes"):
        saving.save(PlayedEngine(), tmp_path, manifest(2), keep=2)


def test_what_a_killed_save_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / folder_name(2)).mkdir()
    (tmp_path / folder_name(1)).mkdir()
    saving.save(PlayedEngine(), tmp_path, manifest(2), keep=2)
    assert checkpoints.steps(tmp_path) == [2]


def test_a_lost_peer_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:1")

    engine = SimpleNamespace(module=nn.Linear(2, 2), save_checkpoint=lost)
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        saving.save(engine, tmp_path, manifest(1), keep=2)
