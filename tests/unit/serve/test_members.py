"""How a leader and a worker end: whose fault, in which order, with which words. Ray and the engine are played."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hunyuan_runtime.config import Phase, Rank, RuntimeStatus, ServeConfig
from hunyuan_runtime.preflight.wiring import Wiring
from hunyuan_runtime.serve.leader import Leader
from hunyuan_runtime.serve.processes import Children
from hunyuan_runtime.serve.ray_node import Node
from hunyuan_runtime.serve.reports import Report
from hunyuan_runtime.serve.status import StatusServer
from hunyuan_runtime.serve.worker import Patience, Worker
from hunyuan_runtime.termination import Cause, RuntimeFailure

CONFIG = ServeConfig(
    model_path="/models/tiny",
    served_name="tiny",
    max_model_len=512,
    nodes=3,
    gpus_per_node=1,
    tensor_parallel=3,
    pipeline_parallel=1,
    max_num_seqs=4,
    gpu_memory_utilization=0.9,
)


class PlayedRay:
    """Daemons that live until ``dies_after`` checks."""

    def __init__(self, *, dies_after: int = 10**9, engine_error: str = "", starts: list[Cause] | None = None) -> None:
        self.checks_left = dies_after
        self.starts = starts or []
        self.cleared = 0
        self._engine_error = engine_error

    def start(self, timeout: float) -> None:
        if self.starts:
            raise RuntimeFailure(self.starts.pop(), "ray start ended with exit code 1; see the log")

    def clear(self) -> None:
        self.cleared += 1

    def check(self) -> None:
        self.checks_left -= 1
        if self.checks_left < 0:
            raise RuntimeFailure(Cause.RayFailed, "Ray's raylet ended")

    def engine_error(self) -> str:
        return self._engine_error

    def dying_words(self, pid: int) -> str:
        return f"last words of {pid}"


class Script:
    """Reports that the driver would write, one a read; silence after the last."""

    def __init__(self, *reports: Report) -> None:
        self._left = list(reports)

    def read(self, timeout: float) -> list[Report]:
        if self._left:
            return [self._left.pop(0)]
        time.sleep(0.01)
        return []


class PlayedCanary:
    alive, failure = True, ""

    def start(self) -> None: ...


@pytest.fixture
def status() -> Iterator[StatusServer]:
    server = StatusServer(port=0, host="127.0.0.1")
    yield server
    server.close()


def node(rank: int) -> Node:
    identity = Rank(index=rank, leader="127.0.0.1", pod_ip="127.0.0.1")
    return Node(
        rank=identity,
        gpus=1,
        wiring=Wiring(pod_ip="127.0.0.1", interface="lo", address="127.0.0.1"),
        token=Path("/t"),
        work=Path("/w"),
    )


def leader(status: StatusServer, ray: PlayedRay, **changes: Any) -> Leader:
    config = CONFIG.model_copy(update=changes)
    played: Any = ray
    return Leader(
        config=config, node=node(0), env={}, children=Children(), ray_node=played, status=status, head_start=0.3
    )


JOINED = (Report(event="joining", ranks=[0]), Report(event="joining", ranks=[0, 2]))
LOADING = (*JOINED, Report(event="joining", ranks=[0, 1, 2]), Report(event="loading"))


def end_of(member: Leader, *reports: Report) -> RuntimeFailure:
    member.status.update(phase=Phase.JOINED)
    script: Any = Script(*reports)
    with pytest.raises(RuntimeFailure) as end:
        member.watch(script)
    return end.value


def test_ranks_that_stay_away_are_named(status: StatusServer) -> None:
    member = leader(status, PlayedRay(), join_timeout_seconds=1)
    end = end_of(member, *JOINED)
    assert end.cause is Cause.RanksMissing
    assert "2 of 3" in str(end)
    assert "missing: 1" in str(end)
    assert status.status.ranks_joined == 2


def test_a_failed_load_ends_at_once_with_the_engines_own_words(status: StatusServer) -> None:
    failed = Report(event="failed", cause="EngineFailed", message="Engine core initialization failed.")
    end = end_of(leader(status, PlayedRay(engine_error="KeyError: 'w1'")), *LOADING, failed)
    assert (end.cause, str(end)) == (Cause.EngineFailed, "the engine didn't start: KeyError: 'w1'")
    assert status.status.phase is Phase.LOADING


def test_a_refused_option_keeps_the_parsers_words(status: StatusServer) -> None:
    failed = Report(event="failed", cause="ConfigInvalid", message="unrecognized arguments: --x")
    end = end_of(leader(status, PlayedRay(engine_error="KeyError: 'w1'")), *LOADING, failed)
    assert (end.cause, str(end)) == (Cause.ConfigInvalid, "unrecognized arguments: --x")


def test_its_own_ranks_death_is_the_leaders_own_end(status: StatusServer, capsys: pytest.CaptureFixture[str]) -> None:
    end = end_of(leader(status, PlayedRay()), *LOADING, Report(event="rank-died", ranks=[0], pid=7, message="killed"))
    assert (end.cause, str(end)) == (Cause.WorkerDied, "the engine's process 7 on rank 0 died: killed")
    assert "last words of 7" in capsys.readouterr().err


def test_another_ranks_death_is_published_first_and_claimed_after_the_head_start(status: StatusServer) -> None:
    member = leader(status, PlayedRay(dies_after=5))
    began = time.monotonic()
    end = end_of(member, *LOADING, Report(event="rank-died", ranks=[2], pid=7, message="killed"))
    assert time.monotonic() - began >= 0.3
    assert end.cause is Cause.EngineFailed
    assert (status.status.failed_rank, status.status.failed_pid, status.ready) == (2, 7, False)


def test_rays_death_is_rays(status: StatusServer) -> None:
    assert end_of(leader(status, PlayedRay(dies_after=6)), *LOADING).cause is Cause.RayFailed


def test_a_start_that_takes_too_long_ends(status: StatusServer) -> None:
    end = end_of(leader(status, PlayedRay(), start_timeout_seconds=1), *LOADING)
    assert end.cause is Cause.EngineFailed
    assert "doesn't answer" in str(end)


def test_a_loading_leader_tells_how_far_its_ranks_are(status: StatusServer) -> None:
    far = (Report(event="progress", done=100, total=400), Report(event="progress", done=200, total=400))
    end_of(leader(status, PlayedRay(dies_after=8)), *LOADING, *far)
    assert status.status.progress is not None
    assert (status.status.progress.done_bytes, status.status.progress.total_bytes) == (200, 400)
    assert status.status.progress.remaining_seconds is not None


def test_serving_needs_an_answer_and_a_silent_engine_is_unready_before_it_is_the_end(status: StatusServer) -> None:
    member = leader(status, PlayedRay())
    canary: Any = PlayedCanary()
    member.canary = canary
    member._check_canary()
    assert (status.status.phase, status.ready) == (Phase.SERVING, True)
    canary.failure = "no token for 60 s"
    began = time.monotonic()
    end = end_of(member)
    assert (end.cause, status.ready) == (Cause.EngineFailed, False)
    assert "no token for 60 s" in str(end)
    assert time.monotonic() - began >= 0.3


def worker(status: StatusServer, ray: PlayedRay, *answers: RuntimeStatus | None, **changes: Any) -> Worker:
    left = list(answers)
    played: Any = ray
    return Worker(
        config=CONFIG.model_copy(update=changes),
        node=node(1),
        children=Children(),
        ray_node=played,
        status=status,
        ask=lambda _: left.pop(0) if len(left) > 1 else left[0],
        patience=Patience(first_wait=0.01, longest_wait=0.02, poll=0.01, leader_lost=0.2, drain=0.2),
    )


SERVING = RuntimeStatus(phase=Phase.SERVING)


def stay(member: Worker) -> RuntimeFailure:
    with pytest.raises(RuntimeFailure) as end:
        member._stay()
    return end.value


def test_a_worker_ends_when_the_leader_says_that_its_process_died(
    status: StatusServer, capsys: pytest.CaptureFixture[str]
) -> None:
    blamed = SERVING.model_copy(update={"failed_rank": 1, "failed_pid": 7, "message": "killed"})
    end = stay(worker(status, PlayedRay(), SERVING, blamed))
    assert (end.cause, str(end)) == (Cause.WorkerDied, "the engine's process 7 on rank 1 died: killed")
    assert "last words of 7" in capsys.readouterr().err


def test_a_worker_stays_while_another_rank_is_blamed_and_loses_its_leader_later(status: StatusServer) -> None:
    other = SERVING.model_copy(update={"failed_rank": 2})
    began = time.monotonic()
    end = stay(worker(status, PlayedRay(), other, other, None))
    assert end.cause is Cause.LeaderLost
    assert time.monotonic() - began >= 0.2


def test_a_leader_that_is_silent_for_a_moment_is_not_lost(status: StatusServer) -> None:
    end = stay(worker(status, PlayedRay(dies_after=12), SERVING, None, None, SERVING))
    assert end.cause is Cause.RayFailed


def test_a_head_that_cannot_be_reached_is_named_with_the_time_that_was_given(status: StatusServer) -> None:
    """Nothing listens on Ray's port of the loopback here."""
    member = worker(status, PlayedRay(), SERVING, join_timeout_seconds=1)
    with pytest.raises(RuntimeFailure, match=r"127\.0\.0\.1:6379 couldn't be reached within 1 s") as end:
        member._join()
    assert end.value.cause is Cause.LeaderUnreachable


def test_a_failed_ray_start_is_cleared_away_and_tried_again(
    status: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = PlayedRay(starts=[Cause.RayFailed, Cause.RayFailed])
    member = worker(status, ray, SERVING)
    monkeypatch.setattr(member, "_reach_head", lambda: None)
    member._join()
    assert ray.cleared == 2


def test_a_stopped_worker_waits_for_its_leader_to_go_but_not_for_long(status: StatusServer) -> None:
    status.update(phase=Phase.JOINED)
    began = time.monotonic()
    worker(status, PlayedRay(), SERVING, None).drain()
    assert time.monotonic() - began < 0.15
    worker(status, PlayedRay(), SERVING).drain()
    assert 0.2 <= time.monotonic() - began < 2
