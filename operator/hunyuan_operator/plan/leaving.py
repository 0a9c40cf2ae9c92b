"""Waiting for the pods of an attempt that ended: the next begins when none of them holds its GPUs or its volumes."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from hunyuan_operator.observe.pod import Pod

HASTE = timedelta(seconds=30)
"""What a rank gets that can do nothing more of use. On a lost node it passes before its place is free."""
OVERDUE = timedelta(seconds=30)
"""How long after its deadline a pod that is being deleted is waited for. Only a lost node's pods take longer."""


def awaited(pods: Iterable[Pod], now: datetime) -> list[Pod]:
    return [pod for pod in pods if pod.deadline is None or now < pod.deadline + OVERDUE]


def longest_wait(pods: Iterable[Pod]) -> datetime | None:
    """When to look again at pods that are awaited; None when only their going can matter."""
    return min((pod.deadline + OVERDUE for pod in pods if pod.deadline), default=None)


def is_to_go(pod: Pod, now: datetime, *, drain: bool) -> bool:
    """Whether a pod of an attempt that ended is still to be deleted, or once more for it to go sooner."""
    return pod.deadline is None or (not drain and pod.deadline > now + HASTE)
