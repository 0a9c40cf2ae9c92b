"""What to do with one group.

A group is always in one of these, told apart by its memory alone (``attempt``, ``retry_at``, ``started_at``):

1. **ended** (``retry_at`` is set, or there never was an attempt): its pods are deleted; when they are gone and the time
   has come, the next attempt begins;
2. **beginning**: pods that the attempt lacks are created;
3. **started** (``started_at`` is set: all its pods have been seen): a pod that ends, or is missing, ends the attempt.

Memory is written before it is acted on, and acting twice does no harm, so a crash between any two writes is harmless.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import GroupStatus, Restart
from hunyuan_operator.api.reasons import FailureReason
from hunyuan_operator.api.times import format_time, parse_time
from hunyuan_operator.observe.end import End
from hunyuan_operator.observe.pod import Pod, Stage
from hunyuan_operator.plan.cause import Casualty, casualty_of, located, root_cause
from hunyuan_operator.plan.leaving import awaited, is_to_go, longest_wait
from hunyuan_operator.plan.nodes import avoiding, avoiding_culprit, avoiding_none, gives_up_avoiding
from hunyuan_operator.plan.restarts import (
    WELL,
    begin,
    cleared,
    earliest_start,
    end_by_failure,
    end_by_intent,
    forgiven,
    is_own_fault,
    may_still_work,
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked of a group. ``revision`` is None while no pod can be built; running ones are left alone then."""

    deployment: str
    wanted: bool
    revision: str | None
    nodes: int
    restart: Restart
    retry: str = ""
    """The annotation by which people ask for another try."""
    replace: bool = False
    """Whether it is this group's turn to give way to a new revision, though it is ready."""


@dataclass(frozen=True, kw_only=True)
class GroupPlan:
    """``memory`` is what to write into status before anything else; ``pods`` are those of its attempt."""

    memory: GroupStatus
    wanted: bool
    pods: tuple[Pod, ...] = ()
    create: tuple[int, ...] = ()
    delete: tuple[Pod, ...] = ()
    drain: bool = True
    """Whether requests may still be answered by the pods that are deleted."""
    culprit: Casualty | None = None
    look_again: datetime | None = None


def plan_group(memory: GroupStatus, pods: tuple[Pod, ...], order: Order, now: datetime) -> GroupPlan | None:
    """``memory`` is the recalled one. None when the group is not wanted and nothing is left of it."""
    memory = forgiven(memory, order.retry, now)
    if memory.retry_at or not memory.attempt:
        return _follow_up(memory, pods, order, now)
    return _watch_over(memory, pods, order, now)


def recall(memory: GroupStatus, pods: tuple[Pod, ...]) -> GroupStatus:
    """A status that was lost, restored or not yet seen is behind its pods: their labels then tell the attempt."""
    newest = max(pods, key=lambda pod: pod.attempt, default=None)
    if newest is None or newest.attempt <= memory.attempt:
        return memory
    return GroupStatus(index=memory.index, attempt=newest.attempt, revision=newest.revision)


def is_ready(memory: GroupStatus, pods: tuple[Pod, ...]) -> bool:
    """Whether all ranks of the attempt are there, none has ended, and the leader answers."""
    current = _current(memory, pods)
    alive = not memory.retry_at and _complete(current) and not any(pod.end for pod in current)
    return alive and any(pod.rank == 0 and pod.stage is Stage.READY for pod in current)


def _watch_over(memory: GroupStatus, pods: tuple[Pod, ...], order: Order, now: datetime) -> GroupPlan:
    current = _current(memory, pods)
    outdated = order.revision is not None and memory.revision != order.revision
    if not order.wanted:
        return _end(end_by_intent(memory, now), pods, order, now)
    fallen = [casualty_of(pod, pod.end, current) for pod in current if pod.end] + _missing(memory, current, order, now)
    verdict = root_cause(fallen, survivors=any(pod.end is None for pod in current), now=now)
    if isinstance(verdict, Casualty):
        verdict = replace(verdict, end=located(verdict.end, current))
        return replace(_end(_failed(memory, verdict, current, order, now), pods, order, now), culprit=verdict)
    if outdated and (order.replace or not is_ready(memory, pods)):
        return _end(end_by_intent(memory, now), pods, order, now)
    give_up = gives_up_avoiding(memory, current)
    if give_up and now >= give_up:
        return _end(end_by_intent(avoiding_none(memory), now), pods, order, now)
    if _complete(current) and not memory.started_at:
        memory = memory.model_copy(update={"started_at": format_time(now)})
    beginning = not memory.started_at and not outdated and order.revision is not None
    return GroupPlan(
        memory=memory,
        wanted=True,
        pods=current,
        create=tuple(sorted(set(range(order.nodes)) - {pod.rank for pod in current})) if beginning else (),
        delete=tuple(pod for pod in pods if pod not in current and not pod.terminating),
        look_again=verdict or give_up,
    )


def _follow_up(memory: GroupStatus, pods: tuple[Pod, ...], order: Order, now: datetime) -> GroupPlan | None:
    if old := awaited(pods, now):
        return replace(_end(memory, pods, order, now), look_again=longest_wait(old))
    if not order.wanted:
        return None
    idle = GroupPlan(memory=memory, wanted=True)
    if order.revision is None:
        return idle
    if memory.attempt and memory.revision == order.revision:
        start = earliest_start(memory, order.restart, now)
        if start is None or now < start:
            return replace(idle, look_again=start)
    # Pods that outlive their deletion are on a lost node.
    memory = avoiding(memory, (pod.node for pod in pods), FailureReason.NODE_LOST, now)
    return replace(idle, memory=begin(memory, order.revision, now), create=tuple(range(order.nodes)))


def _end(memory: GroupStatus, pods: tuple[Pod, ...], order: Order, now: datetime) -> GroupPlan:
    drain = may_still_work(memory)
    return GroupPlan(
        drain=drain,
        memory=memory,
        wanted=order.wanted,
        pods=_current(memory, pods),
        delete=tuple(pod for pod in pods if is_to_go(pod, now, drain=drain)),
    )


def _failed(
    memory: GroupStatus, culprit: Casualty, current: tuple[Pod, ...], order: Order, now: datetime
) -> GroupStatus:
    if memory.ready_at and culprit.end.time >= parse_time(memory.ready_at) + WELL:
        memory = cleared(memory)
    counts = is_own_fault(culprit.end, whole=_whole(memory, current))
    return end_by_failure(avoiding_culprit(memory, culprit, now), culprit.end, order.restart, now, counts=counts)


def _missing(memory: GroupStatus, current: tuple[Pod, ...], order: Order, now: datetime) -> list[Casualty]:
    """Ranks whose pods are gone without a trace, after all had been there."""
    if not memory.started_at:
        return []
    nodes = current[0].nodes if current else max(len(memory.nodes), 1)
    fallen = []
    for rank in sorted(set(range(nodes)) - {pod.rank for pod in current}):
        name = names.pod_name(order.deployment, memory.index, memory.attempt, rank)
        node = memory.nodes[rank] if rank < len(memory.nodes) else ""
        end = End(time=now, reason=FailureReason.POD_DELETED, message=f"pod {name} is gone, not by the operator")
        fallen.append(Casualty(rank=rank, pod=name, node=node, end=end))
    return fallen


def _current(memory: GroupStatus, pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
    return tuple(pod for pod in pods if pod.attempt == memory.attempt)


def _whole(memory: GroupStatus, current: tuple[Pod, ...]) -> bool:
    """Whether every rank of the attempt has come to run, be it that it ended since."""
    running = all(pod.end or pod.stage.value >= Stage.PREPARING.value for pod in current)
    return bool(memory.started_at) and running


def _complete(current: tuple[Pod, ...]) -> bool:
    return bool(current) and len(current) == current[0].nodes
