"""What to do with a whole HunyuanDeployment: which groups there shall be, and which of them gives way next.

A new revision replaces groups in place, one at a time: a group that isn't ready has nothing to lose and gives way at
once, a ready one only when every wanted group is ready. So a revision that can't start takes down at most one ready
group.
"""

from dataclasses import dataclass
from datetime import datetime

from hunyuan_operator.api.deployment import GroupStatus, HunyuanDeployment, HunyuanDeploymentSpec
from hunyuan_operator.errors import Unplannable
from hunyuan_operator.observe.world import Observed
from hunyuan_operator.plan.groups import GroupPlan, Order, is_ready, plan_group, recall
from hunyuan_operator.plan.revision import revision_of
from hunyuan_operator.plan.serving import ServingPlan, plan_serving
from hunyuan_operator.plan.source import Source, source_of
from hunyuan_operator.plan.topology import Topology


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan:
    """``serving`` is None when there is no model, no layout is possible, or none fits; ``obstacle`` then says why.

    ``spec`` names a model that pods can mount, unless that is what is missing.
    """

    revision: str
    spec: HunyuanDeploymentSpec
    serving: ServingPlan | None
    obstacle: Unplannable | None = None
    groups: tuple[GroupPlan, ...] = ()

    @property
    def topology(self) -> Topology | None:
        return self.serving.topology if self.serving else None

    @property
    def wanted(self) -> tuple[GroupPlan, ...]:
        return tuple(group for group in self.groups if group.wanted)


def plan_deployment(
    deployment: HunyuanDeployment, observed: Observed, default_image: str, now: datetime
) -> DeploymentPlan:
    source, serving, obstacle = _serving(deployment.spec, observed)
    spec, revision = source.spec, revision_of(source.spec, default_image, source.digest)
    topology = serving.topology if serving else None
    count = 0 if spec.suspend else spec.groups
    memories = _memories(deployment, observed, count)
    turn = _next_to_replace(memories[:count], observed, revision) if topology else None
    groups = []
    for memory in memories:
        order = Order(
            deployment=deployment.name,
            wanted=memory.index < count,
            revision=revision if topology else None,
            nodes=topology.nodes if topology else 0,
            restart=spec.restart,
            retry=deployment.retry,
            replace=memory.index == turn,
        )
        if group := plan_group(memory, observed.group(memory.index), order, now):
            groups.append(group)
    return DeploymentPlan(revision=revision, spec=spec, serving=serving, obstacle=obstacle, groups=tuple(groups))


def _serving(spec: HunyuanDeploymentSpec, observed: Observed) -> tuple[Source, ServingPlan | None, Unplannable | None]:
    source = Source(spec=spec)
    try:
        source = source_of(spec, observed.fine_tune)
        return source, plan_serving(source.spec), None
    except Unplannable as error:
        return source, None, error


def _memories(deployment: HunyuanDeployment, observed: Observed, count: int) -> list[GroupStatus]:
    """By index: first those that are wanted, then what else has a memory or pods."""
    known = {memory.index: memory for memory in deployment.status.group_statuses}
    indexes = sorted({*range(count), *known, *(pod.group for pod in observed.pods)})
    return [recall(known.get(index, GroupStatus(index=index)), observed.group(index)) for index in indexes]


def _next_to_replace(memories: list[GroupStatus], observed: Observed, revision: str) -> int | None:
    if not all(is_ready(memory, observed.group(memory.index)) for memory in memories):
        return None
    return next((memory.index for memory in memories if memory.revision != revision), None)
