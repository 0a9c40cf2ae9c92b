"""All objects of one HunyuanDeployment."""

from dataclasses import dataclass

from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.build.access import service_account
from hunyuan_operator.build.config import config_map
from hunyuan_operator.build.metadata import Object
from hunyuan_operator.build.pod import Mould, Seat, pod
from hunyuan_operator.build.services import api_service, pods_service
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.plan.revision import runtime_image


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """``shared`` are applied; ``pods`` are created, and never changed."""

    shared: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()


def build(deployment: HunyuanDeployment, plan: DeploymentPlan, default_image: str) -> Wanted:
    """Nothing when there is no layout, or none fits: what exists stays as it is."""
    if plan.topology is None:
        return Wanted()
    config = config_map(deployment, plan.topology)
    mould = Mould(
        deployment=deployment,
        topology=plan.topology,
        image=runtime_image(deployment.spec, default_image),
        config_map=config["metadata"]["name"],
    )
    pods = (
        pod(mould, Seat(group=memory.index, attempt=memory.attempt, rank=rank, revision=memory.revision))
        for group in plan.groups
        for memory in [group.memory]
        for rank in group.create
    )
    shared = (service_account(deployment), config, pods_service(deployment), api_service(deployment))
    return Wanted(shared=shared, pods=tuple(pods))
