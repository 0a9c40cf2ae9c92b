"""All that belongs to one HunyuanFineTune, gathered once: an attempt of a stage is a Job with its pods."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hunyuan_operator.api import names
from hunyuan_operator.api.times import parse_time
from hunyuan_operator.observe.manifest import Manifest, annotation, condition, controller, is_true, label
from hunyuan_operator.observe.pod import Pod, pod_of_job
from hunyuan_operator.observe.pod import Stage as PodStage
from hunyuan_operator.observe.world import Children, ObjectId
from hunyuan_runtime.train_config import Stage, TrainStatus


@dataclass(frozen=True, kw_only=True)
class Job:
    """``config`` is the ConfigMap that its pods mount; ``message`` says why it failed, as Kubernetes tells."""

    name: str
    uid: str
    nodes: int
    revision: str
    config: str = ""
    gang: str = ""
    complete: bool = False
    failed: bool = False
    terminating: bool = False
    message: str = ""
    ended: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Of a stage. ``job`` is None when it is gone and pods of it are still there."""

    stage: Stage
    number: int
    job: Job | None = None
    pods: tuple[Pod, ...] = ()

    @property
    def leader(self) -> Pod | None:
        """Rank 0."""
        return next((pod for pod in self.pods if pod.rank == 0), None)


@dataclass(frozen=True, kw_only=True)
class ObservedFineTune(Children):
    """``told`` holds what rank 0 answered, by pod name."""

    attempts: tuple[Attempt, ...] = ()
    """By stage and number."""
    told: Mapping[str, TrainStatus] = field(default_factory=dict)

    def of(self, stage: Stage) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if attempt.stage is stage)


_Seat = tuple[Stage, int]


def observe_fine_tune(children: Iterable[Manifest], owner_uid: str, name: str) -> ObservedFineTune:
    objects: dict[ObjectId, Manifest] = {}
    foreign: set[ObjectId] = set()
    jobs: dict[_Seat, Job] = {}
    pods: dict[_Seat, list[Pod]] = {}
    pod_manifests = []
    for child in children:
        key = (child["kind"], child["metadata"]["name"])
        owner = controller(child).get("uid", "")
        if child["kind"] == "Pod":
            pod_manifests.append(child)
        elif child["kind"] == "Job":
            seat = _seat(child)
            if seat and owner == owner_uid:
                jobs[seat] = _job(child)
            else:
                foreign.add(key)
        elif owner in ("", owner_uid):  # One without any controller is adopted by the next apply.
            objects[key] = child
        else:
            foreign.add(key)
    for child in pod_manifests:
        seat, pod = _seat(child), pod_of_job(child)
        if seat and pod and _is_of(child, names.job_name(name, *seat), jobs.get(seat)):
            pods.setdefault(seat, []).append(pod)
    attempts = tuple(
        Attempt(stage=stage, number=number, job=jobs.get((stage, number)), pods=tuple(members))
        for stage, number in sorted({*jobs, *pods}, key=lambda seat: (tuple(Stage).index(seat[0]), seat[1]))
        for members in [sorted(pods.get((stage, number), []), key=lambda pod: pod.rank)]
    )
    return ObservedFineTune(attempts=attempts, objects=objects, foreign=frozenset(foreign))


def is_to_be_asked(pod: Pod) -> bool:
    """Whether something answers on its status port, and there is news to expect of it."""
    return bool(
        (pod.fetching or pod.stage in {PodStage.RUNNING, PodStage.READY})
        and pod.ip
        and not pod.terminating
        and pod.end is None
    )


def _seat(manifest: Manifest) -> _Seat | None:
    """Which attempt of which stage an object belongs to; None when its labels don't say."""
    try:
        return Stage(label(manifest, names.STAGE)), int(label(manifest, names.ATTEMPT))
    except ValueError:
        return None


def _is_of(pod: Manifest, job_name: str, job: Job | None) -> bool:
    """A pod outlives its Job, so its owner may be known by name only."""
    owner = controller(pod)
    return owner.get("name") == job_name and (job is None or owner.get("uid") == job.uid)


def _job(manifest: Manifest) -> Job:
    metadata = manifest["metadata"]
    failure, success = condition(manifest, "Failed"), condition(manifest, "Complete")
    end = failure or success
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        nodes=int(annotation(manifest, names.NODES) or 1),
        revision=label(manifest, names.REVISION),
        config=annotation(manifest, names.CONFIG),
        gang=annotation(manifest, names.GANG),
        complete=is_true(manifest, "Complete"),
        failed=is_true(manifest, "Failed"),
        terminating="deletionTimestamp" in metadata,
        message=str(end.get("message", "")) if end else "",
        ended=parse_time(end["lastTransitionTime"]) if end else None,
    )
