"""One group's entry in status: the plan's memory of it, and what is seen of it."""

from datetime import datetime

from hunyuan_operator.api.deployment import GroupStatus, HunyuanDeployment
from hunyuan_operator.api.times import format_time
from hunyuan_operator.observe.world import Observed
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.plan.groups import GroupPlan, is_ready
from hunyuan_operator.status.milestones import scheduled, telling_leader, told_by_leader
from hunyuan_operator.status.problems import is_stalled
from hunyuan_operator.status.progress import progress_of
from hunyuan_runtime.config import Phase, RuntimeStatus


def group_status(
    group: GroupPlan, deployment: HunyuanDeployment, plan: DeploymentPlan, observed: Observed, now: datetime
) -> GroupStatus:
    memory = group.memory
    ready = group.wanted and is_ready(memory, group.pods)
    told = told_by_leader(group, observed)
    return memory.model_copy(
        update={
            "ready": ready,
            "state": _state(group, deployment, plan, told, now),
            # An attempt that ended keeps the nodes on which it ran.
            "nodes": memory.nodes if memory.retry_at else [pod.node for pod in group.pods if pod.node],
            "ready_at": memory.ready_at or (format_time(now) if ready else ""),
            "progress": progress_of(told, memory.progress, now) if telling_leader(group) else None,
        }
    )


def _state(
    group: GroupPlan,
    deployment: HunyuanDeployment,
    plan: DeploymentPlan,
    told: RuntimeStatus | None,
    now: datetime,
) -> str:
    memory = group.memory
    if is_stalled(memory, plan.revision, deployment.spec.restart, now):
        return "Stalled"
    if memory.retry_at:
        return "BackOff" if memory.reason and group.wanted else "Stopping"
    if not scheduled(group):
        return "Pending"
    return (told.phase if told else Phase.STARTING).value
