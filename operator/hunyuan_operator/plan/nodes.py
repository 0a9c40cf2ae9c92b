"""On which nodes the next attempt runs: rather on those of the last, whose page cache holds the weights, and on none
that failed an attempt.

A node that was at fault is avoided for an hour. That may be wrong, and there may be no other: pods that find no node
for :data:`NO_OTHER_WAY` give way to an attempt that avoids none. So an avoided node is never a dead end.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from hunyuan_operator.api.reasons import FailureReason, Reason
from hunyuan_operator.api.status import AvoidedNode, RestartMemory
from hunyuan_operator.api.times import format_time, parse_time
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.plan.cause import Casualty
from hunyuan_runtime.termination import Cause

NODE_FAULTS = frozenset(
    {
        FailureReason.NODE_LOST,
        Cause.GpuFault.name,
        Cause.RankUnreachable.name,
        Cause.NetworkDeviceMissing.name,
        Cause.NetworkFailed.name,
        Cause.NetworkSlow.name,
    }
)
"""Reasons that speak against the culprit's node rather than against what ran there."""
AVOIDED = timedelta(hours=1)
MOST = 8
"""Nodes that are avoided at once; of more, the latest."""
NO_OTHER_WAY = timedelta(minutes=2)
"""How long pods may find no node because of this: the scheduler says so within seconds, and all is down meanwhile."""

Memory = TypeVar("Memory", bound=RestartMemory)


def avoiding_culprit(memory: Memory, culprit: Casualty, now: datetime) -> Memory:
    return avoiding(memory, [culprit.node], culprit.end.reason, now) if culprit.end.reason in NODE_FAULTS else memory


def avoiding(memory: Memory, nodes: Iterable[str], reason: str, now: datetime) -> Memory:
    until = format_time(now + AVOIDED)
    new = [AvoidedNode(name=name, reason=reason, until=until) for name in sorted(set(nodes) - {""})]
    known = [one for one in memory.avoid_nodes if one.name not in {other.name for other in new}]
    return memory.model_copy(update={"avoid_nodes": [*known, *new][-MOST:]})


def avoiding_none(memory: Memory) -> Memory:
    return memory.model_copy(update={"avoid_nodes": []})


def for_next_attempt(memory: RestartMemory, now: datetime) -> dict[str, list[AvoidedNode] | list[str]]:
    """What the next attempt's memory has of nodes. It stays so as long as that lasts: its pods are made of it."""
    avoided = [one for one in memory.avoid_nodes if parse_time(one.until) > now]
    names = {one.name for one in avoided}
    return {
        "avoid_nodes": avoided,
        "prefer_nodes": [name for name in memory.nodes or memory.prefer_nodes if name not in names],
    }


def gives_up_avoiding(memory: RestartMemory, pods: Iterable[Pod]) -> datetime | None:
    """When an attempt whose pods find no node gives way to one that avoids none; None if that isn't what it lacks."""
    lacking = any(pod.trouble and pod.trouble.reason is Reason.UNSCHEDULABLE for pod in pods)
    if not lacking or not memory.avoid_nodes or not memory.started_at:
        return None
    return parse_time(memory.started_at) + NO_OTHER_WAY
