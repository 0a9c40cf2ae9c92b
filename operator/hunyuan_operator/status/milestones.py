"""How far one group's attempt has come, as the four conditions that a group passes on its way to serving."""

from hunyuan_operator.api.deployment import GroupProgress
from hunyuan_operator.api.reasons import ConditionType, Reason
from hunyuan_operator.observe.pod import Pod, Stage
from hunyuan_operator.observe.world import Observed
from hunyuan_operator.plan.groups import GroupPlan
from hunyuan_operator.status.progress import in_words
from hunyuan_operator.status.verdict import Verdict, no, unknown, yes
from hunyuan_runtime.config import Phase, RuntimeStatus

_ORDER = tuple(Phase)
MILESTONES = (ConditionType.SCHEDULED, ConditionType.RAY_READY, ConditionType.MODEL_LOADED, ConditionType.SERVING)


def milestones(group: GroupPlan, observed: Observed, progress: GroupProgress | None) -> dict[ConditionType, Verdict]:
    """Messages name the group, so that the worst of several groups can speak for all."""
    return dict(zip(MILESTONES, (_scheduled(group), *_runtime_milestones(group, observed, progress)), strict=True))


def scheduled(group: GroupPlan) -> bool:
    return not group.memory.retry_at and not group.create and bool(group.pods) and all(pod.node for pod in group.pods)


def told_by_leader(group: GroupPlan, observed: Observed) -> RuntimeStatus | None:
    """None when no leader can be asked, or none answered; a ready leader serves and isn't asked."""
    leader = telling_leader(group)
    if leader is None:
        return None
    if leader.stage is Stage.READY:
        return RuntimeStatus(phase=Phase.SERVING)
    told = observed.runtime.get(leader.name)
    return told or (RuntimeStatus(phase=Phase.FETCHING) if leader.fetching else None)


def telling_leader(group: GroupPlan) -> Pod | None:
    """The leader if it fetches the model, or runs."""
    if group.memory.retry_at:
        return None
    leaders = (pod for pod in group.pods if pod.rank == 0)
    return next((pod for pod in leaders if pod.fetching or pod.stage.value >= Stage.RUNNING.value), None)


def _scheduled(group: GroupPlan) -> Verdict:
    if scheduled(group):
        return yes(Reason.ALL_PODS_SCHEDULED)
    troubles = [pod.trouble for pod in group.pods if pod.trouble and not group.memory.retry_at]
    for trouble in troubles:
        if trouble.reason is Reason.UNSCHEDULABLE:
            return no(trouble.reason, _of(group, trouble.message))
    return no(Reason.PODS_PENDING, _of(group, "waits for its pods"))


def _runtime_milestones(
    group: GroupPlan, observed: Observed, progress: GroupProgress | None
) -> tuple[Verdict, Verdict, Verdict]:
    """RayReady, ModelLoaded, Serving."""
    leader, far = telling_leader(group), in_words(progress) if progress else ""
    if leader is None or leader.fetching:
        silent = no(Reason.NOT_STARTED, _of(group, "its leader doesn't run yet"))
        return silent, no(Reason.MODEL_FETCHING, _of(group, far or "begins to fetch")) if leader else silent, silent
    told = told_by_leader(group, observed)
    if told is None:
        lost = unknown(Reason.RUNTIME_UNREACHABLE, _of(group, f"pod {leader.name} tells nothing on its status port"))
        return lost, lost, no(Reason.API_SILENT, _of(group, "the API doesn't answer yet"))
    joined = f"{told.ranks_joined} of {leader.nodes} pods have joined"
    return (
        yes(Reason.RANKS_JOINED) if _past(told, Phase.JOINED) else no(Reason.RANKS_JOINING, _of(group, joined)),
        yes(Reason.MODEL_IS_LOADED)
        if _past(told, Phase.SERVING)
        else no(Reason.MODEL_LOADING, _of(group, far or told.message or told.phase.value)),
        yes(Reason.API_ANSWERS)
        if leader.stage is Stage.READY
        else no(Reason.API_SILENT, _of(group, "the API doesn't answer yet")),
    )


def _past(told: RuntimeStatus, phase: Phase) -> bool:
    return _ORDER.index(told.phase) >= _ORDER.index(phase)


def _of(group: GroupPlan, message: str) -> str:
    return f"group {group.memory.index}: {message}"
