"""Which end of a pod is the root cause of its attempt's end.

The first in time is, except that some ends only follow from another rank's: a leader that finds its engine broken tells
of the consequence, and may do so a moment before the kubelet tells of the rank that broke it. Such an end is believed
only when no other rank gives a better reason within :data:`GRACE`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hunyuan_operator.observe.end import End
from hunyuan_operator.observe.pod import Pod
from hunyuan_runtime.termination import Cause

GRACE = timedelta(seconds=5)

_CONSEQUENCES = frozenset(
    cause.name
    for cause in (Cause.LeaderLost, Cause.LeaderUnreachable, Cause.RanksMissing, Cause.EngineFailed, Cause.RankLost)
)
_ABOUT_ANOTHER = _CONSEQUENCES | {Cause.RankUnreachable.name}
"""Told by one rank of another, if it names just one."""
_LATE = frozenset({Cause.LeaderLost.name, Cause.LeaderUnreachable.name})
"""Of a worker that has waited for longer than GRACE already: what the leader could tell would be known by now."""


@dataclass(frozen=True, kw_only=True)
class Casualty:
    """A rank whose work is over. ``teller`` is the pod whose end tells of it, its own as a rule; None if it is gone."""

    rank: int
    pod: str
    end: End
    teller: Pod | None = None
    node: str = ""


def casualty_of(teller: Pod, end: End, pods: Iterable[Pod]) -> Casualty:
    """Of the pod that ended, unless that one names another rank alone, which may not be able to tell by itself."""
    others = pods if end.reason in _ABOUT_ANOTHER else ()
    named = next((pod for pod in others if (pod.rank,) == end.ranks), teller)
    if named is not teller:
        end = replace(end, container="", exit_code=None)
    return Casualty(rank=named.rank, pod=named.name, node=named.node, end=end, teller=teller)


def located(end: End, pods: Iterable[Pod]) -> End:
    """With the nodes of the ranks that the message is about, which pods don't know of each other."""
    nodes = {pod.rank: pod for pod in pods if pod.node}
    known = [nodes[rank] for rank in end.ranks if rank in nodes]
    places = [f"{pod.name} is on {pod.node}" for pod in known if f"{pod.name} on {pod.node}" not in end.message]
    return replace(end, message=f"{end.message} ({', '.join(places)})") if places else end


def root_cause(casualties: list[Casualty], *, survivors: bool, now: datetime) -> Casualty | datetime | None:
    """The culprit, or the time to look again for a better one; None when nobody fell."""
    first = min(casualties, key=_moment, default=None)
    if first is None or first.end.reason not in _CONSEQUENCES:
        return first
    believed = first.end.time + GRACE
    better = [c for c in casualties if c.end.reason not in _CONSEQUENCES and c.end.time <= believed]
    if better:
        return min(better, key=_moment)
    wait = survivors and now < believed and first.end.reason not in _LATE
    return believed if wait else first


def _moment(one: Casualty) -> tuple[datetime, bool, int]:
    """The kubelet tells whole seconds, so ends of one group often have the same time."""
    return one.end.time, one.end.reason in _CONSEQUENCES, one.rank
