"""All pods of an attempt are scheduled, or none: one small adapter for each scheduler that can do so.

An attempt is a gang of its own, under the attempt's name, so that a restart never counts pods of the attempt before.
What the peers publish about their objects and labels, and what each of them needs, is in docs/scheduling.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hunyuan_operator.api import names
from hunyuan_operator.api.resource import Resource
from hunyuan_operator.api.workload import Provider, Scheduling
from hunyuan_operator.build.metadata import Object, metadata


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """``name`` is its own, and no other attempt's."""

    owner: Resource
    name: str
    nodes: int
    scheduling: Scheduling
    by_job: bool = False
    """Whether a Job makes the pods."""


@dataclass(frozen=True, kw_only=True)
class Gang:
    """What the pods bear, and the object that has to be there before them, if any.

    ``job_labels`` are those of the Job itself. ``packs`` says that the provider takes care of topologyKey.
    """

    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    job_labels: dict[str, str] = field(default_factory=dict)
    pod_spec: Object = field(default_factory=dict)
    group: Object | None = None
    packs: bool = False


def gang(attempt: Attempt) -> Gang:
    adapter = _ADAPTERS.get(attempt.scheduling.gang.provider)
    return adapter(attempt) if adapter else Gang()


def group_reference(provider: str, name: str, namespace: str) -> Object | None:
    """Enough of the object that :func:`gang` makes to find it; None where the provider has none."""
    version = _GROUPS.get(provider)
    return _group(version, {"name": name, "namespace": namespace}) if version else None


def _kueue(attempt: Attempt) -> Gang:
    """Kueue makes its Workload out of the pods, once as many as told are there; of a Job by itself.

    A pod of an attempt is never replaced, so the end of one is the end of Kueue's Workload.
    """
    queue, topology = {"kueue.x-k8s.io/queue-name": attempt.scheduling.gang.queue}, attempt.scheduling.topology_key
    required = {"kueue.x-k8s.io/podset-required-topology": topology} if topology and attempt.nodes > 1 else {}
    if attempt.by_job:
        return Gang(job_labels=queue, annotations=required, packs=True)
    return Gang(
        labels={**queue, "kueue.x-k8s.io/pod-group-name": attempt.name},
        annotations={
            "kueue.x-k8s.io/pod-group-total-count": str(attempt.nodes),
            "kueue.x-k8s.io/retriable-in-group": "false",
            **required,
        },
        packs=True,
    )


def _volcano(attempt: Attempt) -> Gang:
    scheduling = attempt.scheduling
    queue = {"queue": scheduling.gang.queue} if scheduling.gang.queue else {}
    return Gang(
        annotations={"scheduling.k8s.io/group-name": attempt.name},
        pod_spec={"schedulerName": "volcano"},
        group=_made(attempt, {"minMember": attempt.nodes, **queue, **_priority(scheduling)}),
    )


def _coscheduling(attempt: Attempt) -> Gang:
    return Gang(
        labels={"scheduling.x-k8s.io/pod-group": attempt.name},
        pod_spec={"schedulerName": "scheduler-plugins-scheduler"},
        group=_made(attempt, {"minMember": attempt.nodes}),
    )


def _workload(attempt: Attempt) -> Gang:
    """Kubernetes' own. Its topology constraints are behind a gate of their own, so pods keep their affinity."""
    spec = {
        "schedulingPolicy": {"gang": {"minCount": attempt.nodes}},
        "disruptionMode": {"all": {}},
        **_priority(attempt.scheduling),
    }
    return Gang(pod_spec={"schedulingGroup": {"podGroupName": attempt.name}}, group=_made(attempt, spec))


_ADAPTERS: dict[Provider, Callable[[Attempt], Gang]] = {
    "kueue": _kueue,
    "volcano": _volcano,
    "coscheduling": _coscheduling,
    "workload": _workload,
}
_GROUPS: dict[str, str] = {
    "volcano": "scheduling.volcano.sh/v1beta1",
    "coscheduling": "scheduling.x-k8s.io/v1alpha1",
    "workload": "scheduling.k8s.io/v1beta1",
}
"""Where each provider's PodGroup is served."""


def _made(attempt: Attempt, spec: Object) -> Object:
    version = _GROUPS[attempt.scheduling.gang.provider]
    return {**_group(version, metadata(attempt.owner, attempt.name)), "spec": spec}


def _group(version: str, identity: Object) -> Object:
    return {"apiVersion": version, "kind": names.POD_GROUP_KIND, "metadata": identity}


def _priority(scheduling: Scheduling) -> Object:
    return {"priorityClassName": scheduling.priority_class_name} if scheduling.priority_class_name else {}
