"""When what ended may start again: a group of a deployment, a stage of a fine-tune.

A failure counts for ``restart.window``. The n-th that counts waits ``backoff.initial * 2**(n-1)``, at most
``backoff.max``; when more than ``restart.limit`` count, it waits until enough of them are old. Disruptions (a
pod preempted, evicted, deleted, or lost with its node) are nobody's doing: they wait ``initial``, uncounted. So
does a rank that gave up on others whose pods never came to run, for want of a node, a quota or an image.

The same failure :data:`SAME` times in a row is not going to pass: nothing is tried any more until someone helps. Those
of nodes are no part of that, since the next attempt goes elsewhere. An attempt that did well, a group by answering for
:data:`WELL`, a training by a new checkpoint, clears all failures before it: its own is the first again.

The memory is its own status. Limits are applied when it is read, so that a raised limit helps at once.
"""

from datetime import datetime, timedelta
from typing import TypeVar

from hunyuan_operator.api.reasons import FailureReason
from hunyuan_operator.api.status import RestartMemory
from hunyuan_operator.api.times import format_time, parse_duration, parse_time
from hunyuan_operator.api.workload import Restart
from hunyuan_operator.observe.end import End
from hunyuan_operator.plan.fingerprint import fingerprint
from hunyuan_operator.plan.nodes import NODE_FAULTS, for_next_attempt
from hunyuan_runtime.termination import Cause

DISRUPTIONS = frozenset(
    {FailureReason.EVICTED, FailureReason.PREEMPTED, FailureReason.NODE_LOST, FailureReason.POD_DELETED}
)
SAME = 3
WELL = timedelta(minutes=10)
"""As long as the back-off is at most by default, and as a kubelet takes to forget a container's failures."""
Memory = TypeVar("Memory", bound=RestartMemory)

_CLEAN = {"failures": [], "fingerprint": "", "repeated": []}
_GAVE_UP = frozenset({Cause.RanksMissing.name, Cause.LeaderUnreachable.name})


def begin(memory: Memory, revision: str, now: datetime) -> Memory:
    """The next attempt. Failures of another revision say nothing about this one; those of nodes do."""
    kept = memory.model_dump(include=set(_CLEAN)) if memory.revision == revision else {}
    next_attempt = {"attempt": memory.attempt + 1, "revision": revision, "retried": memory.retried}
    return memory.blank().model_copy(update=kept | next_attempt | for_next_attempt(memory, now))


def cleared(memory: Memory) -> Memory:
    """Of an attempt that did well."""
    return memory.model_copy(update=_CLEAN)


def forgiven(memory: Memory, retry: str, now: datetime) -> Memory:
    """When someone says that the cause is gone, by another value of the annotation."""
    if memory.retried == retry:
        return memory
    anew: dict[str, object] = {"retried": retry, "retryable": True, "avoid_nodes": []}
    if memory.retry_at:
        anew["retry_at"] = min(memory.retry_at, format_time(now))
    return cleared(memory).model_copy(update=anew)


def may_still_work(memory: RestartMemory) -> bool:
    """Whether what is left of an attempt that ended has more to do than go: answer requests, save what was trained."""
    return not memory.reason or memory.reason in DISRUPTIONS - {FailureReason.NODE_LOST}


def end_by_intent(memory: Memory, now: datetime) -> Memory:
    return memory.model_copy(update={"retry_at": format_time(now)})


def is_own_fault(end: End, *, whole: bool) -> bool:
    """Whether a failure counts. ``whole`` says whether all pods of the attempt had come to run."""
    return end.reason not in DISRUPTIONS and (whole or end.reason not in _GAVE_UP)


def end_by_failure(memory: Memory, end: End, restart: Restart, now: datetime, *, counts: bool) -> Memory:
    failures = recent_failures(memory, restart, now)
    if counts:
        failures = [*failures, format_time(now)]
        memory = _counted(memory, end, now)
    return memory.model_copy(
        update={
            "failures": failures,
            "retry_at": format_time(now + _backoff(restart, len(failures) if counts else 1)),
            "reason": end.reason,
            "message": end.message,
            "retryable": end.retryable,
        }
    )


def _counted(memory: Memory, end: End, now: datetime) -> Memory:
    if end.reason in NODE_FAULTS:
        return memory
    told = fingerprint(end)
    before = memory.repeated if memory.fingerprint == told else []
    return memory.model_copy(update={"fingerprint": told, "repeated": [*before, format_time(now)]})


def recent_failures(memory: RestartMemory, restart: Restart, now: datetime) -> list[str]:
    window = parse_duration(restart.window)
    return [time for time in memory.failures if parse_time(time) + window > now]


def limit_reached(memory: RestartMemory, restart: Restart, now: datetime) -> bool:
    return bool(memory.reason) and len(recent_failures(memory, restart, now)) > restart.limit


def is_repeating(memory: RestartMemory) -> bool:
    return bool(memory.reason) and len(memory.repeated) >= SAME


def earliest_start(memory: RestartMemory, restart: Restart, now: datetime) -> datetime | None:
    """When the next attempt of an unchanged revision may start; None when it never may."""
    if not memory.retryable or is_repeating(memory):
        return None
    earliest = parse_time(memory.retry_at)
    recent = recent_failures(memory, restart, now)
    if limit_reached(memory, restart, now):
        earliest = max(earliest, parse_time(recent[len(recent) - restart.limit - 1]) + parse_duration(restart.window))
    return earliest


def _backoff(restart: Restart, failures: int) -> timedelta:
    """In whole seconds, as durations are; integers can't overflow however often the wait doubles."""
    initial = int(parse_duration(restart.backoff.initial).total_seconds())
    longest = int(parse_duration(restart.backoff.max).total_seconds())
    return timedelta(seconds=min(initial * 2 ** (failures - 1), longest))
