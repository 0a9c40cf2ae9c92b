"""What is wrong, the gravest first."""

from datetime import datetime

from hunyuan_operator.api.deployment import HunyuanDeployment, Restart
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.api.times import format_time
from hunyuan_operator.errors import Refused
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.plan.groups import GroupPlan
from hunyuan_operator.plan.restarts import earliest_start, limit_reached
from hunyuan_operator.status.verdict import Problem

_BEYOND_RETRY = {Reason.FORBIDDEN, Reason.ADMISSION_REFUSED, Reason.POD_INVALID}
"""Refusals that only someone's help ends. A quota frees up and a name is given back without it."""


def refused(refusal: Refused) -> Problem:
    return Problem(reason=refusal.reason.value, message=str(refusal), stalled=refusal.reason in _BEYOND_RETRY)


def problems(
    deployment: HunyuanDeployment, plan: DeploymentPlan, refusal: Problem | None, now: datetime
) -> list[Problem]:
    found = [refusal] if refusal else []
    if plan.obstacle:
        found.append(Problem(reason=plan.obstacle.reason.value, message=str(plan.obstacle), stalled=True))
    for group in plan.wanted:
        found += _of_attempt(group, plan, deployment.spec.restart, now)
        found += _of_pods(group)
    return sorted(found, key=lambda problem: not problem.stalled)


def is_stalled(group: GroupPlan, plan: DeploymentPlan, restart: Restart, now: datetime) -> bool:
    """Whether the group waits for a change. How an attempt of another revision ended says nothing about the next."""
    memory = group.memory
    if not (memory.retry_at and memory.reason and memory.revision == plan.revision):
        return False
    return not memory.retryable or limit_reached(memory, restart, now)


def _of_attempt(group: GroupPlan, plan: DeploymentPlan, restart: Restart, now: datetime) -> list[Problem]:
    memory = group.memory
    if not (memory.retry_at and memory.reason and memory.revision == plan.revision):
        return []
    start = earliest_start(memory, restart, now)
    if start is None:
        return [Problem(reason=memory.reason, message=f"group {memory.index}: {memory.message}", stalled=True)]
    message = (
        f"group {memory.index}: attempt {memory.attempt} failed: {memory.reason}: {memory.message}; "
        f"the next is due at {format_time(start)}"
    )
    if limit_reached(memory, restart, now):
        why = f"more than {restart.limit} failures within {restart.window}; {message}"
        return [Problem(reason=Reason.RESTART_LIMIT_REACHED.value, message=why, stalled=True)]
    return [Problem(reason=Reason.BACK_OFF.value, message=message)]


def _of_pods(group: GroupPlan) -> list[Problem]:
    """Pods of an attempt that ended are on their way out, whatever troubles them."""
    if group.memory.retry_at:
        return []
    return [
        Problem(reason=pod.trouble.reason.value, message=f"group {group.memory.index}: {pod.trouble.message}")
        for pod in group.pods
        if pod.trouble
    ]
