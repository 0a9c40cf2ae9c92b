"""Events are what changed between two statuses, so each is told once however often the world is looked at."""

from collections.abc import Iterator

from hunyuan_operator.api.deployment_status import GroupStatus, HunyuanDeploymentStatus
from hunyuan_operator.api.finetune_status import HunyuanFineTuneStatus, StageStatus
from hunyuan_operator.api.reasons import ConditionType, EventReason, Reason
from hunyuan_operator.api.status import Condition, Failure, RestartMemory
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
    yield from _obstacles(before.conditions, after.conditions)


def fine_tune_events(before: HunyuanFineTuneStatus, after: HunyuanFineTuneStatus) -> Iterator[Event]:
    old = {stage.name: stage for stage in before.stages}
    for stage in after.stages:
        yield from _of_stage(old.get(stage.name, StageStatus(name=stage.name)), stage, after.last_failure)
    if ready := _changed(ConditionType.READY, before.conditions, after.conditions):
        yield Event(reason=EventReason.COMPLETE, note=ready.message)
    yield from _obstacles(before.conditions, after.conditions)


def _of_group(before: GroupStatus, after: GroupStatus, failure: Failure | None) -> Iterator[Event]:
    told = failure if failure and failure.group == after.index else None
    yield from _of_attempt(f"group {after.index}", before, after, told)
    if after.ready and not before.ready:
        note = f"group {after.index}, attempt {after.attempt}, on {', '.join(after.nodes)}"
        yield Event(reason=EventReason.GROUP_READY, note=note)


def _of_stage(before: StageStatus, after: StageStatus, failure: Failure | None) -> Iterator[Event]:
    told = failure if failure and failure.stage == after.name else None
    yield from _of_attempt(f"stage {after.name}", before, after, told)
    if after.finished_at and not before.finished_at:
        yield Event(reason=EventReason.STAGE_SUCCEEDED, note=f"stage {after.name}: {after.report}")


def _of_attempt(what: str, before: RestartMemory, after: RestartMemory, failure: Failure | None) -> Iterator[Event]:
    attempt = f"{what}, attempt {after.attempt}"
    if after.started_at and (before.attempt, before.started_at) != (after.attempt, after.started_at):
        yield Event(reason=EventReason.ATTEMPT_STARTED, note=attempt)
    if after.reason and (before.attempt, before.reason) != (after.attempt, after.reason):
        where = _place_of(failure) if failure and failure.attempt == after.attempt else ""
        note = f"{attempt}{where}: {after.reason}: {after.message}"
        yield Event(reason=EventReason.ATTEMPT_FAILED, note=note, type="Warning")
    known = {one.name: one.until for one in before.avoid_nodes}
    for node in after.avoid_nodes:
        if node.until != known.get(node.name):
            yield Event(
                reason=EventReason.NODE_AVOIDED,
                note=f"{what}: node {node.name} is avoided until {node.until}: {node.reason}",
                type="Warning",
            )


def _obstacles(before: list[Condition], after: list[Condition]) -> Iterator[Event]:
    degraded = _changed(ConditionType.DEGRADED, before, after)
    if degraded and degraded.reason in _REFUSALS:
        yield Event(reason=EventReason.REFUSED, note=f"{degraded.reason}: {degraded.message}", type="Warning")
    if stalled := _changed(ConditionType.STALLED, before, after):
        yield Event(reason=EventReason.STALLED, note=f"{stalled.reason}: {stalled.message}", type="Warning")


def _place_of(failure: Failure) -> str:
    node = f" on node {failure.node}" if failure.node else ""
    code = f", exit code {failure.exit_code}" if failure.exit_code is not None else ""
    return f", pod {failure.pod}{node}{code}"


def _changed(kind: ConditionType, before: list[Condition], after: list[Condition]) -> Condition | None:
    """The condition if it became true, or true for another reason."""
    old, new = (next((c for c in conditions if c.type == kind), None) for conditions in (before, after))
    if new is None or new.status != "True" or (old and (old.status, old.reason) == (new.status, new.reason)):
        return None
    return new
