"""One pod, of a deployment's group or of a fine-tune's Job, as a record."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from hunyuan_operator.api import names
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.api.times import parse_time
from hunyuan_operator.observe.end import End, end_of
from hunyuan_operator.observe.manifest import (
    Manifest,
    annotation,
    condition,
    container_statuses,
    controller_uid,
    is_true,
    label,
)
from hunyuan_runtime.config import NetworkReport
from hunyuan_runtime.train_config import StageReport

_PULL = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_CREATE = {"CreateContainerConfigError", "CreateContainerError", "CreatePodSandboxError"}


class Stage(Enum):
    """How far a pod has come; the order is the order of its life."""

    UNSCHEDULED = 0
    WAITING = 1
    PREPARING = 2
    """An init container runs, or has run."""
    RUNNING = 3
    READY = 4


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a pod doesn't get on, though it has not failed."""

    reason: Reason
    message: str


@dataclass(frozen=True, kw_only=True)
class Pod:
    """``nodes`` is how many pods its attempt has, ``config`` the ConfigMap that it mounts; a fine-tune has no groups.

    ``fetching`` says that its init container fetches the model. ``deadline`` is when a pod that is being deleted has to
    be gone; on a node that is lost it outlives that.
    """

    name: str
    uid: str
    attempt: int
    rank: int
    nodes: int
    revision: str
    group: int = 0
    config: str = ""
    gang: str = ""
    """Who schedules its attempt as a gang, if that takes an object."""
    node: str = ""
    ip: str = ""
    stage: Stage = Stage.UNSCHEDULED
    fetching: bool = False
    deadline: datetime | None = None
    trouble: Trouble | None = None
    end: End | None = None
    checked: bool = False
    """Whether it has a preflight."""
    network: NetworkReport | None = None
    """What that found, on a leader."""
    succeeded: bool = False
    report: StageReport | None = None
    """What rank 0 of a fine-tune's stage left, if that succeeded."""
    orphan: bool = False
    """Whether nothing controls it: whatever it was made for went without it."""

    @property
    def terminating(self) -> bool:
        return self.deadline is not None


def pod_of(manifest: Manifest) -> Pod | None:
    """None when the labels are not those of a group's pod."""
    try:
        return _pod(manifest, rank=int(label(manifest, names.RANK)), group=int(label(manifest, names.GROUP_INDEX)))
    except ValueError:
        return None


def pod_of_job(manifest: Manifest) -> Pod | None:
    """None when the labels are not those of a pod of a fine-tune's Job, whose index is its rank."""
    try:
        return _pod(manifest, rank=int(label(manifest, names.COMPLETION_INDEX)))
    except ValueError:
        return None


def _pod(manifest: Manifest, rank: int, group: int = 0) -> Pod:
    metadata, spec = manifest["metadata"], manifest.get("spec", {})
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        group=group,
        attempt=int(label(manifest, names.ATTEMPT)),
        rank=rank,
        nodes=int(annotation(manifest, names.NODES)),
        gang=annotation(manifest, names.GANG),
        revision=label(manifest, names.REVISION),
        config=_config(spec),
        node=spec.get("nodeName", ""),
        ip=manifest.get("status", {}).get("podIP", ""),
        stage=_stage(manifest),
        fetching=_fetching(manifest),
        deadline=parse_time(metadata["deletionTimestamp"]) if "deletionTimestamp" in metadata else None,
        trouble=_trouble(manifest),
        end=end_of(manifest),
        checked=any(one["name"] == names.PREFLIGHT for one in spec.get("initContainers", [])),
        network=_network(manifest),
        succeeded=_succeeded(manifest),
        report=_report(manifest),
        orphan=not controller_uid(manifest),
    )


def _fetching(manifest: Manifest) -> bool:
    inits = manifest.get("status", {}).get("initContainerStatuses", [])
    return any(one["name"] == names.FETCH and "running" in one.get("state", {}) for one in inits)


def _config(spec: Manifest) -> str:
    maps = (volume["configMap"]["name"] for volume in spec.get("volumes", []) if "configMap" in volume)
    return next(maps, "")


def _stage(manifest: Manifest) -> Stage:
    if is_true(manifest, "Ready"):
        return Stage.READY
    statuses = manifest.get("status", {}).get("containerStatuses", [])
    if statuses and all("running" in status.get("state", {}) for status in statuses):
        return Stage.RUNNING
    prepared = manifest.get("status", {}).get("initContainerStatuses", [])
    if any(not {"running", "terminated"}.isdisjoint(status.get("state", {})) for status in prepared):
        return Stage.PREPARING
    return Stage.WAITING if manifest.get("spec", {}).get("nodeName") else Stage.UNSCHEDULED


def _succeeded(manifest: Manifest) -> bool:
    """By its containers: the kubelet tells of their ends a moment before the phase says so."""
    statuses = manifest.get("status", {}).get("containerStatuses", [])
    ends = [status.get("state", {}).get("terminated") for status in statuses]
    return bool(ends) and all(end is not None and end["exitCode"] == 0 for end in ends)


def _network(manifest: Manifest) -> NetworkReport | None:
    statuses = manifest.get("status", {}).get("initContainerStatuses", [])
    ended = (one["state"].get("terminated") for one in statuses if one["name"] == names.PREFLIGHT and "state" in one)
    return next((NetworkReport.parse(str(end.get("message", ""))) for end in ended if end), None)


def _report(manifest: Manifest) -> StageReport | None:
    statuses = manifest.get("status", {}).get("containerStatuses", [])
    ended = (one.get("state", {}).get("terminated") for one in statuses)
    return next((StageReport.parse(str(end.get("message", ""))) for end in ended if end), None)


def _trouble(manifest: Manifest) -> Trouble | None:
    name = manifest["metadata"]["name"]
    scheduled = condition(manifest, "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == "Unschedulable":
        return Trouble(reason=Reason.UNSCHEDULABLE, message=f"pod {name}: {scheduled.get('message', '')}")
    for container in container_statuses(manifest):
        waiting = container.get("state", {}).get("waiting") or {}
        told = waiting.get("reason", "")
        if told in _PULL:
            return _waiting(Reason.IMAGE_PULL_FAILED, name, f"image {container.get('image', '')}: {told}", waiting)
        if told in _CREATE:
            return _waiting(Reason.CONTAINER_CONFIG_ERROR, name, str(told), waiting)
    return None


def _waiting(reason: Reason, pod: str, what: str, waiting: Manifest) -> Trouble:
    """The kubelet's message changes with every try (back-off times, request ids); only its first line is kept."""
    detail = str(waiting.get("message", "")).partition("\n")[0]
    keep = detail if not detail.startswith("Back-off") else ""
    return Trouble(reason=reason, message=f"pod {pod}: {what}" + (f": {keep}" if keep else ""))
