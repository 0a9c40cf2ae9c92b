"""Who is to blame when several ranks end."""

from datetime import UTC, datetime, timedelta

import pytest
from hunyuan_operator.observe.end import End
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.plan.cause import GRACE, Casualty, casualty_of, root_cause

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def casualty(rank: int, reason: str, at: float) -> Casualty:
    return Casualty(rank=rank, pod=f"rank-{rank}", end=end(reason, at))


def end(reason: str, at: float = 0, ranks: tuple[int, ...] = ()) -> End:
    return End(
        time=NOON + timedelta(seconds=at), reason=reason, message="", container="runtime", exit_code=7, ranks=ranks
    )


def pod(rank: int) -> Pod:
    name, uid, node = (f"{kind}-{rank}" for kind in ("rank", "uid", "node"))
    return Pod(name=name, uid=uid, node=node, rank=rank, group=0, attempt=1, nodes=3, revision="r")


PODS = (pod(0), pod(1), pod(2))


@pytest.mark.parametrize(
    ("fallen", "culprit"),
    [
        pytest.param([(1, "WorkerDied", 0)], 1, id="the only one"),
        pytest.param([(0, "Signalled", 2), (1, "OOMKilled", 1)], 1, id="the first in time"),
        pytest.param([(0, "EngineFailed", 1), (1, "WorkerDied", 1)], 1, id="at the same time: not a consequence"),
        pytest.param([(0, "EngineFailed", 1), (1, "WorkerDied", 4)], 1, id="a consequence that was told early"),
        pytest.param([(0, "EngineFailed", 1), (1, "WorkerDied", 8)], 0, id="but not that early"),
        pytest.param([(0, "EngineFailed", 1), (1, "LeaderLost", 3)], 0, id="the leader's engine, and who noticed"),
        pytest.param([(1, "LeaderLost", 2), (0, "NodeLost", 1)], 0, id="a node that went away"),
        pytest.param([(1, "LeaderLost", 1), (0, "PodDeleted", 3)], 0, id="a leader that someone deleted"),
        pytest.param([(0, "Exited", 1), (1, "Exited", 1)], 0, id="all else equal: the lower rank"),
    ],
)
def test_the_root_cause_is(fallen: list[tuple[int, str, float]], culprit: int) -> None:
    found = root_cause([casualty(*one) for one in fallen], survivors=False, now=NOON + timedelta(seconds=60))
    assert isinstance(found, Casualty)
    assert found.rank == culprit


def test_a_consequence_alone_is_believed_only_after_a_grace() -> None:
    alone = [casualty(0, "EngineFailed", 0)]
    assert root_cause(alone, survivors=True, now=NOON + timedelta(seconds=1)) == NOON + GRACE
    assert root_cause(alone, survivors=True, now=NOON + GRACE) == alone[0]


def test_it_is_believed_at_once_when_nobody_is_left_to_tell_more() -> None:
    alone = [casualty(0, "EngineFailed", 0)]
    assert root_cause(alone, survivors=False, now=NOON) == alone[0]


def test_nobody_fell() -> None:
    assert root_cause([], survivors=True, now=NOON) is None


def test_who_waited_for_long_before_it_complained_is_believed_at_once() -> None:
    alone = [casualty(1, "LeaderLost", 0)]
    assert root_cause(alone, survivors=True, now=NOON) == alone[0]


def test_a_check_that_failed_is_the_end_of_the_pod_that_made_it() -> None:
    found = casualty_of(PODS[0], end("NetworkFailed", ranks=(1,)), PODS)
    assert (found.rank, found.end.container) == (0, "runtime")


@pytest.mark.parametrize(
    ("ranks", "named"),
    [
        pytest.param((), 0, id="nobody else"),
        pytest.param((2,), 2, id="a rank that can't tell by itself"),
        pytest.param((0,), 0, id="itself"),
        pytest.param((0, 2), 0, id="both ends of a link: neither alone"),
        pytest.param((9,), 0, id="a rank without a pod"),
    ],
)
def test_an_end_can_name_another_rank(ranks: tuple[int, ...], named: int) -> None:
    found = casualty_of(PODS[0], end("RankUnreachable", ranks=ranks), PODS)
    assert (found.rank, found.pod, found.node) == (named, f"rank-{named}", f"node-{named}")
    assert found.teller == PODS[0]
    assert (found.end.container, found.end.exit_code) == (("runtime", 7) if named == 0 else ("", None))
