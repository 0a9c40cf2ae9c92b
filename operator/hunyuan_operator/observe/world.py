"""All that belongs to one resource, gathered once: a HunyuanDeployment, or a HunyuanFineTune."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hunyuan_operator.observe.manifest import Manifest, controller_uid
from hunyuan_operator.observe.pod import Pod, Stage, pod_of
from hunyuan_runtime.config import RuntimeStatus

ObjectId = tuple[str, str]
"""``(kind, name)``; the namespace is the owner's."""


@dataclass(frozen=True, kw_only=True)
class Children:
    """``objects`` are the applied children, ``foreign`` names that are taken by another owner's objects."""

    objects: Mapping[ObjectId, Manifest] = field(default_factory=dict)
    foreign: frozenset[ObjectId] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Observed(Children):
    """``runtime`` holds what leaders answered, by pod name; a leader that was not asked or did not answer is absent.

    ``fine_tune`` is the HunyuanFineTune that makes the model, if the spec names one and it is there.
    """

    pods: tuple[Pod, ...] = ()
    runtime: Mapping[str, RuntimeStatus] = field(default_factory=dict)
    fine_tune: Manifest | None = None

    def group(self, index: int) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if pod.group == index)


def observe(children: Iterable[Manifest], owner_uid: str) -> Observed:
    pods: list[Pod] = []
    objects: dict[ObjectId, Manifest] = {}
    foreign: set[ObjectId] = set()
    for child in children:
        key = (child["kind"], child["metadata"]["name"])
        controller = controller_uid(child)
        if controller not in ("", owner_uid):
            foreign.add(key)
        elif child["kind"] != "Pod":  # Without any controller it is adopted by the next apply.
            objects[key] = child
        elif pod := pod_of(child):
            pods.append(pod)
        else:
            foreign.add(key)
    pods.sort(key=lambda pod: (pod.group, pod.attempt, pod.rank))
    return Observed(pods=tuple(pods), objects=objects, foreign=frozenset(foreign))


def leaders_to_ask(observed: Observed) -> tuple[Pod, ...]:
    """Leaders that fetch or run but are not ready. A ready leader serves, by the meaning of its readiness probe."""
    return tuple(
        pod
        for pod in observed.pods
        if pod.rank == 0
        and (pod.fetching or pod.stage is Stage.RUNNING)
        and pod.ip
        and not pod.terminating
        and pod.end is None
    )
