"""The conditions of a deployment out of those of its groups."""

from datetime import datetime

from hunyuan_operator.api.deployment import Condition, GroupStatus, HunyuanDeployment
from hunyuan_operator.api.reasons import ConditionType, Reason
from hunyuan_operator.api.times import format_time
from hunyuan_operator.observe.world import Observed
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.status.milestones import MILESTONES, milestones
from hunyuan_operator.status.network import network_verified
from hunyuan_operator.status.verdict import Problem, Verdict, no, worst, yes

Verdicts = dict[ConditionType, Verdict]


def verdicts(
    deployment: HunyuanDeployment,
    plan: DeploymentPlan,
    observed: Observed,
    groups: list[GroupStatus],
    found: list[Problem],
) -> Verdicts:
    progressing = _progressing(deployment, plan, groups, found)
    result = {
        ConditionType.READY: _ready(deployment, groups, found),
        ConditionType.PROGRESSING: progressing,
        ConditionType.DEGRADED: degraded(found),
        **_milestones(deployment, plan, observed, groups),
    }
    if network := network_verified(deployment, plan):
        result[ConditionType.NETWORK_VERIFIED] = _without_groups(deployment) or network
    return with_kstatus(result, found)


def with_kstatus(verdicts: Verdicts, found: list[Problem]) -> Verdicts:
    """With the two conditions that are present only while they are true."""
    result = dict(verdicts)
    if (progressing := verdicts[ConditionType.PROGRESSING]).status == "True":
        result[ConditionType.RECONCILING] = progressing
    if found and found[0].stalled:
        result[ConditionType.STALLED] = yes(found[0].reason, found[0].message)
    return result


def conditions(verdicts: Verdicts, previous: list[Condition], generation: int, now: datetime) -> list[Condition]:
    """A condition keeps its time of transition as long as its status stays."""
    before = {condition.type: condition for condition in previous}
    result = []
    for kind in ConditionType:
        if (verdict := verdicts.get(kind)) is None:
            continue
        old = before.get(kind)
        unchanged = old is not None and old.status == verdict.status
        result.append(
            Condition(
                type=kind.value,
                status=verdict.status,
                reason=verdict.reason,
                message=verdict.message,
                last_transition_time=old.last_transition_time if old and unchanged else format_time(now),
                observed_generation=generation,
            )
        )
    return result


def _without_groups(deployment: HunyuanDeployment) -> Verdict | None:
    if deployment.spec.suspend:
        return no(Reason.SUSPENDED, "spec.suspend is true")
    if deployment.spec.groups == 0:
        return no(Reason.SCALED_TO_ZERO, "spec.groups is 0")
    return None


def _ready(deployment: HunyuanDeployment, groups: list[GroupStatus], found: list[Problem]) -> Verdict:
    if nothing := _without_groups(deployment):
        return nothing
    wanted, ready = deployment.spec.groups, sum(group.ready for group in groups)
    count = f"{ready} of {wanted} groups ready"
    if ready == wanted:
        return yes(Reason.ALL_GROUPS_READY, count)
    if found:
        return no(found[0].reason, f"{count}; {found[0].message}")
    return no(Reason.GROUPS_NOT_READY, count)


def _progressing(
    deployment: HunyuanDeployment, plan: DeploymentPlan, groups: list[GroupStatus], found: list[Problem]
) -> Verdict:
    work: dict[Reason, list[int]] = {}
    wanted = {group.memory.index for group in plan.wanted}
    for group in groups:
        if reason := _work_on(group, plan, wanted=group.index in wanted):
            work.setdefault(reason, []).append(group.index)
    for reason in (Reason.ROLLING_OUT, Reason.STARTING, Reason.STOPPING, Reason.BACK_OFF):
        if indexes := work.get(reason):
            return yes(reason, "group " + ", ".join(map(str, indexes)))
    if found and (found[0].stalled or plan.obstacle):
        return no(found[0].reason, found[0].message)
    return _without_groups(deployment) or no(Reason.UP_TO_DATE)


def _work_on(group: GroupStatus, plan: DeploymentPlan, *, wanted: bool) -> Reason | None:
    if not wanted:
        return Reason.STOPPING
    if plan.topology is None or group.state == "Stalled":
        return None
    if group.state == "BackOff":
        return Reason.BACK_OFF
    if group.revision != plan.revision or group.retry_at:
        return Reason.ROLLING_OUT
    return None if group.ready else Reason.STARTING


def degraded(found: list[Problem]) -> Verdict:
    return yes(found[0].reason, found[0].message) if found else no(Reason.NO_FAILURE)


def _milestones(
    deployment: HunyuanDeployment, plan: DeploymentPlan, observed: Observed, groups: list[GroupStatus]
) -> Verdicts:
    if nothing := _without_groups(deployment):
        return dict.fromkeys(MILESTONES, nothing)
    progress = {group.index: group.progress for group in groups}
    each = [milestones(group, observed, progress[group.memory.index]) for group in plan.wanted]
    return {kind: worst(one[kind] for one in each) for kind in MILESTONES}
