"""Events are what changed between two statuses, so each is told once however often the world is looked at."""

from collections.abc import Iterator

from hunyuan_operator.api.deployment import Condition, Failure, GroupStatus, HunyuanDeploymentStatus
from hunyuan_operator.api.reasons import ConditionType, EventReason, Reason
from hunyuan_operator.cluster.port import Event

_REFUSALS = {
    Reason.INVALID_SPEC,
    Reason.INVALID_TOPOLOGY,
    Reason.DOES_NOT_FIT,
    Reason.NAME_CONFLICT,
    Reason.QUOTA_EXCEEDED,
    Reason.FORBIDDEN,
    Reason.ADMISSION_REFUSED,
    Reason.POD_INVALID,
}


def events(before: HunyuanDeploymentStatus, after: HunyuanDeploymentStatus) -> Iterator[Event]:
    if before.group_statuses and before.groups != after.groups:
        yield Event(reason=EventReason.SCALED, note=f"from {before.groups} to {after.groups} groups")
    old = {group.index: group for group in before.group_statuses}
    for group in after.group_statuses:
        yield from _of_group(old.get(group.index, GroupStatus(index=group.index)), group, after.last_failure)
    degraded = _changed(ConditionType.DEGRADED, before, after)
    if degraded and degraded.reason in _REFUSALS:
        yield Event(reason=EventReason.REFUSED, note=f"{degraded.reason}: {degraded.message}", type="Warning")
    if stalled := _changed(ConditionType.STALLED, before, after):
        yield Event(reason=EventReason.STALLED, note=f"{stalled.reason}: {stalled.message}", type="Warning")


def _of_group(before: GroupStatus, after: GroupStatus, failure: Failure | None) -> Iterator[Event]:
    attempt = f"group {after.index}, attempt {after.attempt}"
    if after.started_at and (before.attempt, before.started_at) != (after.attempt, after.started_at):
        yield Event(reason=EventReason.ATTEMPT_STARTED, note=attempt)
    if after.reason and (before.attempt, before.reason) != (after.attempt, after.reason):
        where = (
            _place_of(failure) if failure and (failure.group, failure.attempt) == (after.index, after.attempt) else ""
        )
        note = f"{attempt}{where}: {after.reason}: {after.message}"
        yield Event(reason=EventReason.ATTEMPT_FAILED, note=note, type="Warning")
    if after.ready and not before.ready:
        yield Event(reason=EventReason.GROUP_READY, note=f"{attempt}, on {', '.join(after.nodes)}")


def _place_of(failure: Failure) -> str:
    node = f" on node {failure.node}" if failure.node else ""
    code = f", exit code {failure.exit_code}" if failure.exit_code is not None else ""
    return f", pod {failure.pod}{node}{code}"


def _changed(kind: ConditionType, before: HunyuanDeploymentStatus, after: HunyuanDeploymentStatus) -> Condition | None:
    """The condition if it became true, or true for another reason."""
    old, new = (next((c for c in status.conditions if c.type == kind), None) for status in (before, after))
    if new is None or new.status != "True" or (old and (old.status, old.reason) == (new.status, new.reason)):
        return None
    return new
