"""How a leader and a worker end: whose fault, in which order, with which words. Ray and the engine are played."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hunyuan_runtime.config import Phase, Rank, RuntimeStatus, ServeConfig
from hunyuan_runtime.preflight.wiring import Wiring
from hunyuan_runtime.processes import Children
from hunyuan_runtime.serve import verdict
from hunyuan_runtime.serve.leader import Leader
from hunyuan_runtime.serve.peers import Peer
from hunyuan_runtime.serve.ray_node import Node
from hunyuan_runtime.serve.reports import DRAIN_SIGNAL, Report
from hunyuan_runtime.serve.verdict import Standstill
from hunyuan_runtime.serve.worker import Clock, Worker
from hunyuan_runtime.status import StatusServer
from hunyuan_runtime.termination import Cause, RuntimeFailure

Server = StatusServer[RuntimeStatus]

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

    def __init__(
        self,
        *,
        dies_after: int = 10**9,
        engine_error: str = "",
        starts: list[Cause] | None = None,
        gpu_fault: tuple[str, str] = ("", ""),
    ) -> None:
        self.checks_left = dies_after
        self._gpu_fault = gpu_fault
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

    def gpu_fault(self) -> tuple[str, str]:
        return self._gpu_fault

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
    standstill = Standstill()

    def __init__(self) -> None:
        self.doubts = 0

    def start(self) -> None: ...

    def doubt(self) -> None:
        self.doubts += 1


class PlayedEngine:
    """Once watched, it has these dead at each look; the last ones for good."""

    def __init__(self, *dead: dict[int, str]) -> None:
        self._dead = list(dead)
        self._watched = False

    def watch(self) -> None:
        self._watched = True

    def dead(self) -> dict[int, str]:
        if not self._watched:
            return {}
        return self._dead.pop(0) if len(self._dead) > 1 else self._dead[0]


@pytest.fixture
def status() -> Iterator[Server]:
    server = StatusServer(port=0, status=RuntimeStatus(phase=Phase.STARTING), host="127.0.0.1")
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


def leader(status: Server, ray: PlayedRay, **changes: Any) -> Leader:
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


def test_ranks_that_stay_away_are_named(status: Server) -> None:
    member = leader(status, PlayedRay(), join_timeout_seconds=1)
    end = end_of(member, *JOINED)
    assert end.cause is Cause.RanksMissing
    assert "2 of 3" in str(end)
    assert "missing: 1" in str(end)
    assert status.status.ranks_joined == 2


def test_a_failed_load_ends_at_once_with_the_engines_own_words(status: Server) -> None:
    failed = Report(event="failed", cause="EngineFailed", message="Engine core initialization failed.")
    end = end_of(leader(status, PlayedRay(engine_error="KeyError: 'w1'")), *LOADING, failed)
    assert (end.cause, str(end)) == (Cause.EngineFailed, "the engine didn't start: KeyError: 'w1'")
    assert status.status.phase is Phase.LOADING


def test_a_refused_option_keeps_the_parsers_words(status: Server) -> None:
    failed = Report(event="failed", cause="ConfigInvalid", message="unrecognized arguments: --x")
    end = end_of(leader(status, PlayedRay(engine_error="KeyError: 'w1'")), *LOADING, failed)
    assert (end.cause, str(end)) == (Cause.ConfigInvalid, "unrecognized arguments: --x")


def test_its_own_ranks_death_is_the_leaders_own_end(status: Server, capsys: pytest.CaptureFixture[str]) -> None:
    end = end_of(leader(status, PlayedRay()), *LOADING, Report(event="rank-died", ranks=[0], pid=7, message="killed"))
    assert (end.cause, str(end)) == (Cause.WorkerDied, "the engine's process 7 on rank 0 died: killed")
    assert "last words of 7" in capsys.readouterr().err


def test_the_death_of_a_single_ranks_process_is_seen_without_ray(
    status: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hunyuan_runtime.serve.leader.Canary", lambda *_: PlayedCanary())
    member = leader(status, PlayedRay(), nodes=1, tensor_parallel=1)
    member.engine = PlayedEngine({}, {}, {7: "VLLM::EngineCore"})  # type: ignore[assignment]  # played
    end = end_of(member, *LOADING, Report(event="loaded"))
    assert (end.cause, end.ranks) == (Cause.WorkerDied, (0,))
    assert str(end) == "the engine's process 7 (VLLM::EngineCore) on rank 0 died"


def test_with_several_ranks_ray_alone_knows_which_died(status: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hunyuan_runtime.serve.leader.Canary", lambda *_: PlayedCanary())
    member = leader(status, PlayedRay(dies_after=9))
    member.engine = PlayedEngine({7: "VLLM::EngineCore"})  # type: ignore[assignment]  # played
    assert end_of(member, *LOADING, Report(event="loaded")).cause is Cause.RayFailed


def test_another_ranks_death_is_published_first_and_claimed_after_the_head_start(status: Server) -> None:
    member = leader(status, PlayedRay(dies_after=5))
    began = time.monotonic()
    end = end_of(member, *LOADING, Report(event="rank-died", ranks=[2], pid=7, message="killed"))
    assert time.monotonic() - began >= 0.3
    assert end.cause is Cause.EngineFailed
    assert (status.status.failed_rank, status.status.failed_pid, status.ready) == (2, 7, False)
    assert (status.status.failed_cause, end.ranks) == ("WorkerDied", (2,))


ECC = "uncorrectable ECC error encountered"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Report(event="failed", cause="EngineFailed", message="see the log"), "10.0.0.2"),
        (Report(event="rank-died", ranks=[2], pid=7, message="aborted"), ""),
    ],
    ids=["an error that the engine heard of", "a process that died of it"],
)
def test_a_broken_gpu_is_told_by_the_rank_that_has_it(status: Server, fault: Report, told: str) -> None:
    member = leader(status, PlayedRay(gpu_fault=(ECC, told)))
    member.peers = type("Played", (), {"look": lambda _: [], "watch": lambda *_: None})()
    end = end_of(member, *JOINED, Report(event="loading", addresses={0: "10.0.0.0", 2: "10.0.0.2"}), fault)
    assert (end.cause, end.ranks) == (Cause.EngineFailed, (2,)), "a consequence"
    assert (status.status.failed_rank, status.status.failed_cause) == (2, "GpuFault")
    assert status.status.message == f"{ECC} on rank 2"


def test_a_broken_gpu_of_its_own_is_the_leaders_own_end(status: Server) -> None:
    died = Report(event="rank-died", ranks=[0], pid=7, message="aborted")
    end = end_of(leader(status, PlayedRay(gpu_fault=(ECC, ""))), *LOADING, died)
    assert (end.cause, end.ranks, str(end)) == (Cause.GpuFault, (0,), f"{ECC} on rank 0")


def test_rays_death_is_rays(status: Server) -> None:
    assert end_of(leader(status, PlayedRay(dies_after=6)), *LOADING).cause is Cause.RayFailed


def test_a_start_that_takes_too_long_ends(status: Server) -> None:
    end = end_of(leader(status, PlayedRay(), start_timeout_seconds=1), *LOADING)
    assert end.cause is Cause.EngineFailed
    assert "doesn't answer" in str(end)


def test_a_loading_leader_tells_how_far_its_ranks_are(status: Server) -> None:
    far = (Report(event="progress", done=100, total=400), Report(event="progress", done=200, total=400))
    end_of(leader(status, PlayedRay(dies_after=8)), *LOADING, *far)
    assert status.status.progress is not None
    assert (status.status.progress.done_bytes, status.status.progress.total_bytes) == (200, 400)
    assert status.status.progress.remaining_seconds is not None


def test_serving_needs_an_answer_and_a_silent_engine_is_unready_before_it_is_the_end(status: Server) -> None:
    member = leader(status, PlayedRay())
    canary: Any = PlayedCanary()
    member.canary = canary
    member._check_canary()
    assert (status.status.phase, status.ready) == (Phase.SERVING, True)
    canary.standstill = Standstill(seconds=60, words="timed out")
    end = end_of(member)
    assert (end.cause, status.ready) == (Cause.EngineFailed, False)
    assert "no token for 60 s" in str(end)


class PlayedClock(Clock):
    """Its seconds go by only while someone sleeps."""

    def __init__(self) -> None:
        passed = [0.0]
        super().__init__(now=lambda: passed[0], sleep=lambda seconds: passed.__setitem__(0, passed[0] + seconds))


def worker(status: Server, ray: PlayedRay, *answers: RuntimeStatus | None, **changes: Any) -> Worker:
    left = list(answers)
    played: Any = ray
    return Worker(
        config=CONFIG.model_copy(update=changes),
        node=node(1),
        children=Children(),
        ray_node=played,
        status=status,
        ask=lambda _: left.pop(0) if len(left) > 1 else left[0],
        clock=PlayedClock(),
    )


SERVING = RuntimeStatus(phase=Phase.SERVING)


def stay(member: Worker) -> RuntimeFailure:
    with pytest.raises(RuntimeFailure) as end:
        member._stay()
    return end.value


def test_a_worker_ends_when_the_leader_says_that_its_process_died(
    status: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    blame = {"failed_rank": 1, "failed_pid": 7, "failed_cause": "WorkerDied", "message": "rank 1 was killed"}
    end = stay(worker(status, PlayedRay(), SERVING, SERVING.model_copy(update=blame)))
    assert (end.cause, str(end)) == (Cause.WorkerDied, "rank 1 was killed")
    assert "last words of 7" in capsys.readouterr().err


def test_a_worker_whose_process_died_of_its_gpu_says_so(status: Server) -> None:
    blame = {"failed_rank": 1, "failed_pid": 7, "failed_cause": "WorkerDied", "message": "rank 1 aborted"}
    end = stay(worker(status, PlayedRay(gpu_fault=(ECC, "")), SERVING, SERVING.model_copy(update=blame)))
    assert (end.cause, str(end)) == (Cause.GpuFault, f"{ECC}: rank 1 aborted")


def test_a_worker_stays_while_another_rank_is_blamed_and_loses_its_leader_later(status: Server) -> None:
    other = SERVING.model_copy(update={"failed_rank": 2})
    member = worker(status, PlayedRay(), other, other, None)
    end = stay(member)
    assert (end.cause, end.ranks) == (Cause.LeaderLost, (0,))
    assert 6 <= member.clock.now() < 20


def test_a_leader_that_is_busy_loading_may_be_silent_for_longer(status: Server) -> None:
    member = worker(status, PlayedRay(), RuntimeStatus(phase=Phase.LOADING), None)
    assert stay(member).cause is Cause.LeaderLost
    assert member.clock.now() >= 20


def test_a_worker_tells_what_speaks_against_it(status: Server) -> None:
    member = worker(status, PlayedRay(dies_after=2), SERVING)
    played: Any = type("Played", (), {"look": lambda *_: "process 7 (ray) has been stopped for 3 s"})
    member.stopped = played()
    stay(member)
    assert status.status.suspect == "process 7 (ray) has been stopped for 3 s"


def test_a_leader_that_is_silent_for_a_moment_is_not_lost(status: Server) -> None:
    end = stay(worker(status, PlayedRay(dies_after=12), SERVING, None, None, SERVING))
    assert end.cause is Cause.RayFailed


def test_a_head_that_cannot_be_reached_is_named_with_the_time_that_was_given(
    status: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        unused = closed.getsockname()[1]
    monkeypatch.setattr("hunyuan_runtime.serve.worker.Port", type("Port", (), {"RAY_GCS": unused}))
    member = worker(status, PlayedRay(), SERVING, join_timeout_seconds=1)
    with pytest.raises(RuntimeFailure, match=r"127\.0\.0\.1:6379 couldn't be reached within 1 s") as end:
        member._join()
    assert end.value.cause is Cause.LeaderUnreachable


def test_the_leader_is_asked_at_the_address_where_it_was_reached(
    status: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod keeps its address, but the cluster's DNS may be away for a while."""
    head = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr("hunyuan_runtime.serve.worker.Port", type("Port", (), {"RAY_GCS": head.getsockname()[1]}))
    member = worker(status, PlayedRay(dies_after=2), SERVING)
    asked: list[str] = []
    member.ask = lambda host: asked.append(host) or SERVING  # type: ignore[func-returns-value]  # nothing: so SERVING
    member.node = replace(member.node, rank=member.node.rank.model_copy(update={"leader": "localhost"}))
    member._reach_head()
    stay(member)
    assert set(asked) == {"127.0.0.1"}


def test_a_failed_ray_start_is_cleared_away_and_tried_again(status: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = PlayedRay(starts=[Cause.RayFailed, Cause.RayFailed])
    member = worker(status, ray, SERVING)
    monkeypatch.setattr(member, "_reach_head", lambda: None)
    member._join()
    assert ray.cleared == 2


def test_a_stopped_worker_stays_for_as_long_as_its_leader_answers(status: Server) -> None:
    status.update(phase=Phase.JOINED)
    member = worker(status, PlayedRay())
    answers: list[RuntimeStatus | None] = [SERVING] * 40
    member.ask = lambda _: answers.pop() if answers else None
    with pytest.raises(RuntimeFailure) as end:
        member.drain()
    assert end.value.cause is Cause.LeaderLost
    assert not answers, "every answer was heard before the leader counted as gone"


def test_a_stopped_worker_that_has_not_joined_has_nothing_to_stay_for(status: Server) -> None:
    worker(status, PlayedRay(), SERVING).drain()


class PlayedDriver:
    """Its process, as far as the leader uses it."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


def serving(status: Server, ray: PlayedRay, *reports: Report) -> tuple[Leader, PlayedDriver]:
    member, driver = leader(status, ray), PlayedDriver()
    played: Any = (PlayedCanary(), driver, Script(*reports))
    member.canary, member._driver, member._reports = played
    member._check_canary()
    return member, driver


def test_a_stopped_leader_is_unready_at_once_and_goes_when_the_last_request_has_gone(status: Server) -> None:
    member, driver = serving(status, PlayedRay(), Report(event="drained"))
    member.drain()
    assert driver.signals == [DRAIN_SIGNAL]
    assert not status.ready


def test_a_leader_that_does_not_serve_has_nothing_to_drain(status: Server) -> None:
    member = leader(status, PlayedRay())
    member.drain()


@pytest.mark.parametrize("blamed", [[1], [0]])
def test_a_drain_ends_with_the_engine(status: Server, blamed: list[int]) -> None:
    """Requests that wait for a rank which is dead would wait for ever."""
    member, _ = serving(status, PlayedRay(), Report(event="rank-died", ranks=blamed, pid=7, message="killed"))
    try:
        member.drain()
    except RuntimeFailure as failure:
        assert (failure.cause, blamed) == (Cause.WorkerDied, [0])
    assert not member.drained


def hung(rank: int) -> Any:
    peer = Peer(rank=rank, suspect="process 7 (ray) has been stopped for 3 s")
    return type("Played", (), {"look": lambda _: [peer], "watch": lambda *_: None})()


def test_a_hung_rank_is_published_and_gets_to_end_first(status: Server) -> None:
    member, _ = serving(status, PlayedRay())
    member.canary.standstill = Standstill(seconds=3)  # type: ignore[misc,union-attr]  # a played one
    member.peers = hung(2)
    end = end_of(member)
    assert (end.cause, end.ranks) == (Cause.EngineFailed, (2,))
    assert (status.status.failed_rank, status.status.failed_cause) == (2, "RankHung")
    assert "rank 2: process 7 (ray) has been stopped for 3 s" in status.status.message


@pytest.mark.parametrize(("silent", "suspect", "doubted"), [(1.4, "", 0), (1.6, "", 1), (0, "it has been stopped", 1)])
def test_the_canary_asks_when_something_speaks_against_a_rank(
    status: Server, silent: float, suspect: str, doubted: int
) -> None:
    member, _ = serving(status, PlayedRay())
    played: Any = type("Played", (), {"look": lambda _: [Peer(rank=2, silent=silent, suspect=suspect)]})()
    member.peers = played
    member._check_ranks()
    canary: Any = member.canary
    assert canary.doubts == doubted


def test_a_rank_out_of_reach_cannot_tell_so_the_leader_does_at_once(status: Server) -> None:
    member, _ = serving(status, PlayedRay())
    member.canary.standstill = Standstill(seconds=3)  # type: ignore[misc,union-attr]  # a played one
    member.head_start = 60
    played: Any = type("Played", (), {"look": lambda _: [Peer(rank=2, silent=4)]})()
    member.peers = played
    member.status.update(phase=Phase.SERVING)
    script: Any = Script()
    with pytest.raises(RuntimeFailure) as end:
        member.watch(script)
    assert (end.value.cause, end.value.ranks) == (Cause.RankUnreachable, (2,))
    assert not status.ready


def test_a_start_that_hangs_names_the_rank_that_hangs(status: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "STARTING", replace(verdict.STARTING, evidence=0.3))
    member = leader(status, PlayedRay())
    member.peers = hung(1)
    end = end_of(member, *LOADING)
    assert (end.cause, end.ranks) == (Cause.EngineFailed, (1,))
    assert status.status.failed_cause == "RankHung"
