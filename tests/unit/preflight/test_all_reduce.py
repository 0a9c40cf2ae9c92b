"""The all-reduce's processes: each GPU has one, and whatever becomes of it is an answer in time."""

import sys
from pathlib import Path

import pytest

from hunyuan_runtime.config import PreflightConfig, Rank
from hunyuan_runtime.preflight import all_reduce
from hunyuan_runtime.preflight.messages import Answer, Task
from tests.unit.preflight.test_verdict import FAST, SLOW

CONFIG = PreflightConfig(nodes=2, gpus_per_node=2, join_timeout_seconds=60)
RANK = Rank(index=1, leader="a.pods", pod_ip="10.0.0.2")


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, seconds: float = 30) -> Answer:
    """With a shell script in the place of the processes of rank 1 of two."""
    program = folder / "process"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    task = Task(kind="all-reduce", rendezvous="10.0.0.1:29500", seconds=seconds)
    return all_reduce.run(task, RANK, CONFIG, {"PATH": "/usr/bin:/bin", "NCCL_IB_HCA": "=mlx5_0:1"})


def test_the_slowest_gpu_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = run(monkeypatch, tmp_path, f"echo some warning; [ $LOCAL_RANK = 1 ] && echo {SLOW} || echo {FAST}")
    assert answer == Answer(bits_per_second=SLOW)


def test_each_process_knows_its_place_in_the_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = f"env > {tmp_path}/env-$LOCAL_RANK; echo {FAST}"
    run(monkeypatch, tmp_path, script)
    for local in (0, 1):
        env = set((tmp_path / f"env-{local}").read_text().splitlines())
        assert env >= {
            f"LOCAL_RANK={local}", f"RANK={2 + local}", "WORLD_SIZE=4", "MASTER_ADDR=10.0.0.1", "MASTER_PORT=29500",
            "NCCL_IB_HCA==mlx5_0:1",
        }  # fmt: skip


def test_a_gpu_that_fails_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = run(
        monkeypatch, tmp_path, f"[ $LOCAL_RANK = 0 ] && echo {FAST} && exit 0; echo NCCL error: unhandled >&2; exit 1"
    )
    assert answer.problems == {1: "GPU 1: NCCL error: unhandled"}


def test_one_that_hangs_is_ended_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = run(monkeypatch, tmp_path, "exec sleep 600", seconds=10.5)
    assert answer.problems == {1: "GPU 0: the all-reduce doesn't end"}
