"""All objects of one HunyuanDeployment."""

from collections.abc import Iterator

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.build.access import service_account
from hunyuan_operator.build.config import serve_config_map
from hunyuan_operator.build.disruption import disruption_budget
from hunyuan_operator.build.metadata import Object
from hunyuan_operator.build.parts import Nodes
from hunyuan_operator.build.pod import Mould, Seat, gang_of, pod
from hunyuan_operator.build.services import api_service, ranks_service
from hunyuan_operator.build.wanted import Wanted
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.plan.revision import runtime_image
from hunyuan_runtime.config import Port

_RANK_PORTS = {"api": Port.API.value, "status": Port.STATUS.value, "ray": Port.RAY_GCS.value}


def build(deployment: HunyuanDeployment, plan: DeploymentPlan, default_image: str) -> Wanted:
    """Nothing when there is no layout, or none fits: what exists stays as it is."""
    if plan.topology is None:
        return Wanted()
    deployment = deployment.model_copy(update={"spec": plan.spec})
    config = serve_config_map(deployment, plan.topology)
    mould = Mould(
        deployment=deployment,
        topology=plan.topology,
        image=runtime_image(deployment.spec, default_image),
        config_map=config["metadata"]["name"],
    )
    seats = [
        Seat(
            group=memory.index,
            attempt=memory.attempt,
            rank=rank,
            revision=memory.revision,
            nodes=Nodes.of(memory),
        )
        for group in plan.groups
        for memory in [group.memory]
        for rank in group.create
    ]
    gangs = {(seat.group, seat.attempt): gang_of(mould, seat).group for seat in seats}
    return Wanted(
        shared=(
            service_account(deployment, deployment.name),
            config,
            ranks_service(deployment, names.pods_service_name(deployment.name), _RANK_PORTS),
            api_service(deployment),
            *_budgets(deployment, plan, plan.topology.nodes),
        ),
        workload=tuple(pod(mould, seat) for seat in seats),
        gangs=tuple(group for group in gangs.values() if group),
        token=names.token_secret_name(deployment.name),
    )


def _budgets(deployment: HunyuanDeployment, plan: DeploymentPlan, nodes: int) -> Iterator[Object]:
    if deployment.spec.scheduling.disruption.budget:
        for group in plan.wanted:
            index = group.memory.index
            name = names.group_name(deployment.name, index)
            yield disruption_budget(deployment, name, {names.GROUP_INDEX: str(index)}, nodes)
