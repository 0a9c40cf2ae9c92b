"""What is wrong, the gravest first."""

from collections.abc import Iterable
from datetime import datetime

from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.api.status import RestartMemory
from hunyuan_operator.api.times import format_time
from hunyuan_operator.api.workload import Restart
from hunyuan_operator.errors import Refused
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.plan.restarts import earliest_start, limit_reached
from hunyuan_operator.status.verdict import Problem

_BEYOND_RETRY = {Reason.FORBIDDEN, Reason.ADMISSION_REFUSED, Reason.POD_INVALID, Reason.GANG_UNAVAILABLE}
"""Refusals that only someone's help ends. A quota frees up and a name is given back without it."""


def refused(refusal: Refused) -> Problem:
    return Problem(reason=refusal.reason.value, message=str(refusal), stalled=refusal.reason in _BEYOND_RETRY)


def problems(
    deployment: HunyuanDeployment, plan: DeploymentPlan, refusal: Problem | None, now: datetime
) -> list[Problem]:
    found = [refusal] if refusal else []
    if plan.obstacle:
        found.append(
            Problem(reason=plan.obstacle.reason.value, message=str(plan.obstacle), stalled=plan.obstacle.stalled)
        )
    for group in plan.wanted:
        what = f"group {group.memory.index}"
        found += of_attempt(what, group.memory, plan.revision, deployment.spec.restart, now)
        found += of_pods(what, group.memory, group.pods)
    return gravest_first(found)


def gravest_first(found: list[Problem]) -> list[Problem]:
    return sorted(found, key=lambda problem: not problem.stalled)


def is_stalled(memory: RestartMemory, revision: str, restart: Restart, now: datetime) -> bool:
    """Whether it waits for a change. How an attempt of another revision ended says nothing about the next."""
    return has_failed(memory, revision) and (not memory.retryable or limit_reached(memory, restart, now))


def has_failed(memory: RestartMemory, revision: str) -> bool:
    return bool(memory.retry_at and memory.reason) and memory.revision == revision


def of_attempt(what: str, memory: RestartMemory, revision: str, restart: Restart, now: datetime) -> list[Problem]:
    """``what`` names the group or the stage."""
    if not has_failed(memory, revision):
        return []
    start = earliest_start(memory, restart, now)
    if start is None:
        return [Problem(reason=memory.reason, message=f"{what}: {memory.message}", stalled=True)]
    message = (
        f"{what}: attempt {memory.attempt} failed: {memory.reason}: {memory.message}; "
        f"the next is due at {format_time(start)}"
    )
    if limit_reached(memory, restart, now):
        why = f"more than {restart.limit} failures within {restart.window}; {message}"
        return [Problem(reason=Reason.RESTART_LIMIT_REACHED.value, message=why, stalled=True)]
    return [Problem(reason=Reason.BACK_OFF.value, message=message)]


def of_pods(what: str, memory: RestartMemory, pods: Iterable[Pod]) -> list[Problem]:
    """Pods of an attempt that ended are on their way out, whatever troubles them."""
    if memory.retry_at:
        return []
    return [
        Problem(reason=pod.trouble.reason.value, message=f"{what}: {pod.trouble.message}")
        for pod in pods
        if pod.trouble
    ]
