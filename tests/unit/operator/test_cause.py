"""Who is to blame when several ranks end."""

from datetime import UTC, datetime, timedelta

import pytest
from hunyuan_operator.observe.end import End
from hunyuan_operator.plan.cause import GRACE, Casualty, root_cause

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def casualty(rank: int, reason: str, at: float) -> Casualty:
    return Casualty(
        rank=rank, pod=f"rank-{rank}", end=End(time=NOON + timedelta(seconds=at), reason=reason, message="")
    )


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
