"""How a pod ended, if it did, as one record with one reason.

A container's own end counts when it came before anyone asked for the pod's deletion; else the disruption or the
deletion is the cause and the container's exit only its consequence. When that was asked isn't always known: of a pod
with a finalizer, as those of Jobs are, Kubernetes moves the time of its deletion behind its containers' ends (1.37,
``markAsDeleting``). So a container that was told to end, in a pod that is being deleted, ended by that.
"""

import signal
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hunyuan_operator.api.reasons import FailureReason
from hunyuan_operator.api.times import parse_time
from hunyuan_operator.observe.manifest import Manifest, condition, container_statuses
from hunyuan_runtime.termination import Cause, TerminationMessage

_DISRUPTIONS = {
    "PreemptionByScheduler": FailureReason.PREEMPTED,
    "DeletionByTaintManager": FailureReason.NODE_LOST,
    "DeletionByPodGC": FailureReason.NODE_LOST,
    "EvictionByEvictionAPI": FailureReason.EVICTED,
    "TerminationByKubelet": FailureReason.EVICTED,
}
"""Reasons of the condition DisruptionTarget (Kubernetes, "Pod disruption conditions")."""

TOLD_TO_END = 128 + signal.SIGTERM
"""Exit code of a container that a SIGTERM ended, or asked to end."""
_CAUSES = {cause.exit_code: cause for cause in Cause}


@dataclass(frozen=True, kw_only=True)
class End:
    """``exit_code`` is None when no container ended by itself."""

    time: datetime
    reason: str
    message: str
    container: str = ""
    exit_code: int | None = None
    retryable: bool = True
    ranks: tuple[int, ...] = ()
    """Those that the message is about, if not the one that ended."""


def end_of(pod: Manifest) -> End | None:
    """None while the pod can still do its work."""
    exits = [_exit_of(status) for status in _ended(pod)]
    disturbed = _disruption_of(pod) or _deletion_of(pod)
    first = min(exits, key=lambda end: end.time, default=None)
    if first is None or disturbed is None:
        return first or disturbed or _failure_of(pod)
    if first.exit_code == TOLD_TO_END:
        return replace(disturbed, time=min(first.time, disturbed.time))
    return first if first.time < disturbed.time else disturbed


def _ended(pod: Manifest) -> list[Manifest]:
    """Statuses of containers that ended for good. An init container that did its work is none of them."""
    inits = pod.get("status", {}).get("initContainerStatuses", [])
    done = [one for one in inits if _exit_code(one) == 0]
    return [one for one in container_statuses(pod) if _exit_code(one) is not None and one not in done]


def _exit_code(status: Manifest) -> int | None:
    terminated = status.get("state", {}).get("terminated")
    return None if terminated is None else int(terminated["exitCode"])


def _exit_of(status: Manifest) -> End:
    terminated = status["state"]["terminated"]
    code = int(terminated["exitCode"])
    text = str(terminated.get("message", "")).strip()
    told = TerminationMessage.parse(text)
    reason, message, retryable = _explain(str(status["name"]), code, str(terminated.get("reason", "")), text)
    return End(
        time=parse_time(terminated["finishedAt"]),
        reason=reason,
        message=message,
        container=str(status["name"]),
        exit_code=code,
        retryable=retryable,
        ranks=told.ranks if told else (),
    )


def _explain(container: str, code: int, kubelet_reason: str, text: str) -> tuple[str, str, bool]:
    """``(reason, message, retryable)``: the kubelet's word on memory first, then the runtime's own, then the code."""
    if kubelet_reason == "OOMKilled":
        return FailureReason.OOM_KILLED, f"container {container} was killed for using more memory than its limit", True
    told = TerminationMessage.parse(text)
    if told is not None:
        return told.reason, told.message, told.retryable
    if kubelet_reason in {"StartError", "ContainerCannotRun"}:
        return FailureReason.START_ERROR, text or f"container {container} could not be started", True
    if code in _CAUSES:
        cause = _CAUSES[code]
        return cause.name, text or f"container {container} ended with exit code {code}", cause.retryable
    if name := signal_name(code):
        return FailureReason.SIGNALLED, f"container {container} was ended by {name} (exit code {code})", True
    return FailureReason.EXITED, f"container {container} ended with exit code {code}", True


def signal_name(code: int | None) -> str:
    """Of the signal that ended a container with this exit code; empty if none did."""
    if code is None:
        return ""
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return ""


def _disruption_of(pod: Manifest) -> End | None:
    disruption = condition(pod, "DisruptionTarget")
    if disruption is None or disruption["status"] != "True":
        return None
    return End(
        time=parse_time(disruption["lastTransitionTime"]),
        reason=_DISRUPTIONS.get(disruption.get("reason", ""), FailureReason.EVICTED),
        message=disruption.get("message", ""),
    )


def _deletion_of(pod: Manifest) -> End | None:
    metadata = pod["metadata"]
    if "deletionTimestamp" not in metadata:
        return None
    grace = timedelta(seconds=int(metadata.get("deletionGracePeriodSeconds") or 0))
    return End(
        time=parse_time(metadata["deletionTimestamp"]) - grace,
        reason=FailureReason.POD_DELETED,
        message=f"pod {metadata['name']} was deleted, not by the operator",
    )


def _failure_of(pod: Manifest) -> End | None:
    """A pod that failed without any container's end, such as one that the kubelet never admitted."""
    status = pod.get("status", {})
    if status.get("phase") not in {"Failed", "Succeeded"}:
        return None
    reasons = {"Evicted": FailureReason.EVICTED, "NodeLost": FailureReason.NODE_LOST}
    told = str(status.get("reason", ""))
    return End(
        time=parse_time(status.get("startTime") or pod["metadata"]["creationTimestamp"]),
        reason=reasons.get(told, FailureReason.EXITED),
        message=str(status.get("message") or told or f"pod {pod['metadata']['name']} failed"),
    )
