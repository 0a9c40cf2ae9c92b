"""Back-off, the window and the limit, second by second."""

from datetime import UTC, datetime, timedelta

import pytest
from hunyuan_operator.api.deployment import GroupStatus, Restart
from hunyuan_operator.api.times import format_time
from hunyuan_operator.observe.end import End
from hunyuan_operator.plan.restarts import DISRUPTIONS, begin, earliest_start, end_by_failure, limit_reached

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
RESTART = Restart.model_validate({"limit": 5, "window": "1h", "backoff": {"initial": "10s", "max": "1m"}})


def fail(memory: GroupStatus, at: float, reason: str = "WorkerDied", restart: Restart = RESTART) -> GroupStatus:
    now = NOON + timedelta(seconds=at)
    end = End(time=now, reason=reason, message="it tore" if len(memory.failures) % 2 else "it broke")
    return end_by_failure(memory, end, restart, now, counts=reason not in DISRUPTIONS)


def after(*times: float, restart: Restart = RESTART) -> GroupStatus:
    """A group that failed so many seconds after noon."""
    memory = GroupStatus(index=0, attempt=1, revision="r")
    for number, at in enumerate(times):
        memory = fail(begin(memory, "r", NOON) if number else memory, at, restart=restart)
    return memory


def start_after_noon(memory: GroupStatus, now: float, restart: Restart = RESTART) -> float | None:
    start = earliest_start(memory, restart, NOON + timedelta(seconds=now))
    return None if start is None else (start - NOON).total_seconds()


@pytest.mark.parametrize(
    ("failures", "start"),
    [
        pytest.param([0], 10, id="the first waits the initial back-off"),
        pytest.param([0, 100], 120, id="the second twice as long"),
        pytest.param([0, 100, 200], 240, id="the third four times"),
        pytest.param([0, 100, 200, 300], 360, id="never longer than the maximum"),
        pytest.param([0, 3600], 3610, id="a failure as old as the window no longer counts"),
        pytest.param([0, 100, 3650], 3670, id="those inside it do"),
    ],
)
def test_back_off_doubles_with_every_failure_inside_the_window(failures: list[float], start: float) -> None:
    assert start_after_noon(after(*failures), now=failures[-1]) == start


def test_more_failures_than_the_limit_wait_until_the_window_frees() -> None:
    memory = after(0, 100, 200, 300, 400, 500)
    now = NOON + timedelta(seconds=500)
    assert limit_reached(memory, RESTART, now)
    assert start_after_noon(memory, now=500) == 3600
    assert not limit_reached(memory, RESTART, NOON + timedelta(seconds=3600))


def test_exactly_the_limit_is_not_too_many() -> None:
    assert not limit_reached(after(0, 100, 200, 300, 400), RESTART, NOON + timedelta(seconds=400))


def test_a_limit_of_zero_allows_no_restart_until_the_window_is_over() -> None:
    never = RESTART.model_copy(update={"limit": 0})
    assert start_after_noon(after(0, restart=never), now=0, restart=never) == 3600


def test_a_raised_limit_helps_at_once() -> None:
    memory = after(0, 100, 200, 300, 400, 500)
    assert start_after_noon(memory, now=500, restart=RESTART.model_copy(update={"limit": 6})) == 560


@pytest.mark.parametrize("reason", ["Preempted", "Evicted", "NodeLost", "PodDeleted"])
def test_a_disruption_waits_the_initial_back_off_and_does_not_count(reason: str) -> None:
    memory = fail(begin(after(0, 100), "r", NOON), 200, reason)
    assert len(memory.failures) == 2
    assert memory.retry_at == format_time(NOON + timedelta(seconds=210))


def test_what_cannot_be_retried_never_starts_again() -> None:
    end = End(time=NOON, reason="ModelNotFound", message="gone", retryable=False)
    memory = end_by_failure(GroupStatus(index=0, attempt=1), end, RESTART, NOON, counts=True)
    assert start_after_noon(memory, now=10**6) is None


def test_another_revision_starts_with_a_clean_slate_but_attempts_count_on() -> None:
    memory = after(0, 100, 200)
    assert begin(memory, "r", NOON).failures == memory.failures
    assert begin(memory, "s", NOON) == GroupStatus(index=0, attempt=memory.attempt + 1, revision="s")


def test_a_back_off_that_doubles_a_thousand_times_is_still_the_maximum() -> None:
    patient = Restart.model_validate({"limit": 1000, "window": "9000h", "backoff": {"initial": "9s", "max": "9999h"}})
    memory = after(*range(1000), restart=patient)
    assert start_after_noon(memory, now=999, restart=patient) == 999 + 9999 * 3600
