"""What is wrong, the gravest first."""

from collections.abc import Sequence
from datetime import datetime

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.api.status import RestartMemory
from hunyuan_operator.api.times import format_time
from hunyuan_operator.api.workload import Restart
from hunyuan_operator.errors import Refused
from hunyuan_operator.observe.pod import Pod, Trouble
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.plan.nodes import gives_up_avoiding
from hunyuan_operator.plan.restarts import earliest_start, is_repeating, limit_reached
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
    if not has_failed(memory, revision):
        return False
    return earliest_start(memory, restart, now) is None or limit_reached(memory, restart, now)


def has_failed(memory: RestartMemory, revision: str) -> bool:
    return bool(memory.retry_at and memory.reason) and memory.revision == revision


def of_attempt(what: str, memory: RestartMemory, revision: str, restart: Restart, now: datetime) -> list[Problem]:
    """``what`` names the group or the stage."""
    if not has_failed(memory, revision):
        return []
    start = earliest_start(memory, restart, now)
    if is_repeating(memory) and memory.retryable:
        message = (
            f"{what}: failed {len(memory.repeated)} times in a row in the same way since {memory.repeated[0]}: "
            f"{memory.reason}: {memory.message}; change the spec or, once the cause is gone, "
            f"the annotation {names.RETRY}, to try again"
        )
        return [Problem(reason=Reason.REPEATED_FAILURE.value, message=message, stalled=True)]
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


def of_pods(what: str, memory: RestartMemory, pods: Sequence[Pod]) -> list[Problem]:
    """Pods of an attempt that ended are on their way out, whatever troubles them."""
    if memory.retry_at:
        return []
    troubles = (pod.trouble for pod in pods if pod.trouble)
    give_up = gives_up_avoiding(memory, pods)
    return [
        Problem(reason=trouble.reason.value, message=f"{what}: {trouble.message}" + _avoided(memory, trouble, give_up))
        for trouble in troubles
    ]


def _avoided(memory: RestartMemory, trouble: Trouble, give_up: datetime | None) -> str:
    """What the scheduler can't know: why nodes are ruled out, and that they don't stay so."""
    if give_up is None or trouble.reason is not Reason.UNSCHEDULABLE:
        return ""
    nodes = ", ".join(f"{one.name} (until {one.until}: {one.reason})" for one in memory.avoid_nodes)
    return f"; avoided: {nodes}, or until {format_time(give_up)} if there is no other way"
