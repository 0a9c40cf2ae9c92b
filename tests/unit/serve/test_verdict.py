"""When is an engine dead, and whose fault is it? The whole decision as a table."""

import pytest

from hunyuan_runtime.serve.peers import Peer
from hunyuan_runtime.serve.verdict import DRAINING, SERVING, STARTING, Limits, Standstill, judge
from hunyuan_runtime.termination import Cause

WELL = (Peer(rank=0), Peer(rank=1), Peer(rank=2))
STOPPED = (Peer(rank=0), Peer(rank=1, suspect="process 7 (ray) has been stopped for 3 s"), Peer(rank=2))
SILENT = (Peer(rank=0), Peer(rank=1), Peer(rank=2, silent=3.5))


@pytest.mark.parametrize(
    ("still", "ranks"),
    [
        pytest.param(Standstill(), WELL, id="all is well"),
        pytest.param(Standstill(), STOPPED, id="a process is stopped that the engine can do without"),
        pytest.param(Standstill(), SILENT, id="the engine moves, though a rank's agent is slow to answer"),
        pytest.param(Standstill(seconds=1.9), STOPPED, id="it stands still, but not for long"),
        pytest.param(Standstill(seconds=59), WELL, id="a step that compiles, with every rank at work"),
        pytest.param(Standstill(seconds=3.9, refused=True), WELL, id="an error that may pass"),
    ],
)
def test_an_engine_lives_when(still: Standstill, ranks: tuple[Peer, ...]) -> None:
    assert judge(still, ranks, SERVING) is None


@pytest.mark.parametrize(
    ("still", "ranks", "limits", "expected"),
    [
        pytest.param(
            Standstill(seconds=2),
            STOPPED,
            SERVING,
            (Cause.RankHung, (1,), "rank 1: process 7 (ray) has been stopped for 3 s"),
            id="a rank's process is stopped",
        ),
        pytest.param(
            Standstill(seconds=2),
            SILENT,
            SERVING,
            (Cause.RankUnreachable, (2,), "the engine stands still, and rank 2 has not answered for 4 s"),
            id="a link is cut",
        ),
        pytest.param(
            Standstill(seconds=60, words="timed out"),
            WELL,
            SERVING,
            (Cause.EngineFailed, (), "the engine stopped answering: no token for 60 s: timed out"),
            id="it stands still for long, though nothing speaks against a rank",
        ),
        pytest.param(
            Standstill(seconds=4, refused=True, words="HTTP 500"),
            WELL,
            SERVING,
            (Cause.EngineFailed, (), "the engine stopped answering: no token for 4 s: HTTP 500"),
            id="it answers by errors",
        ),
        pytest.param(
            Standstill(seconds=10),
            STOPPED,
            STARTING,
            (Cause.RankHung, (1,), "rank 1: process 7 (ray) has been stopped for 3 s"),
            id="a start hangs",
        ),
        pytest.param(
            Standstill(seconds=3),
            STOPPED,
            DRAINING,
            (Cause.RankHung, (1,), "rank 1: process 7 (ray) has been stopped for 3 s"),
            id="a drain hangs",
        ),
    ],
)
def test_an_engine_is_dead_when(
    still: Standstill, ranks: tuple[Peer, ...], limits: Limits, expected: tuple[Cause, tuple[int, ...], str]
) -> None:
    verdict = judge(still, ranks, limits)
    assert verdict is not None
    assert (verdict.cause, verdict.ranks, str(verdict)) == expected


def test_a_start_is_patient_with_ranks_that_are_busy_loading() -> None:
    assert judge(Standstill(seconds=9), STOPPED, STARTING) is None
    assert judge(Standstill(seconds=3000), SILENT, STARTING) is None
    verdict = judge(Standstill(seconds=3000), [Peer(rank=1, silent=31)], STARTING)
    assert verdict is not None
    assert (verdict.cause, verdict.ranks) == (Cause.RankUnreachable, (1,))


def test_of_several_silent_ranks_all_are_told_and_the_first_to_fall_silent_is_named() -> None:
    verdict = judge(Standstill(seconds=5), [Peer(rank=1, silent=4), Peer(rank=2, silent=6)], SERVING)
    assert verdict is not None
    assert verdict.ranks == (2,)
    assert "rank 1, 2 has not answered for 6 s" in str(verdict)
