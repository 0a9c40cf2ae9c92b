"""All objects of one HunyuanFineTune."""

from hunyuan_operator.api import names
from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.build.access import service_account
from hunyuan_operator.build.disruption import disruption_budget
from hunyuan_operator.build.job import PORTS, Mould, Seat, gang_of, job, token_secret
from hunyuan_operator.build.metadata import Object
from hunyuan_operator.build.parts import Nodes
from hunyuan_operator.build.services import ranks_service
from hunyuan_operator.build.train_config import train_config_map
from hunyuan_operator.build.wanted import Wanted
from hunyuan_operator.plan.finetune import FineTunePlan
from hunyuan_runtime.train_config import Stage


def build_fine_tune(fine_tune: HunyuanFineTune, plan: FineTunePlan, image: str) -> Wanted:
    config = train_config_map(fine_tune)
    mould = Mould(fine_tune=fine_tune, image=image, config_map=config["metadata"]["name"])
    seats = [
        Seat(
            stage=stage.stage,
            attempt=stage.memory.attempt,
            nodes=stage.nodes,
            revision=stage.memory.revision,
            places=Nodes.of(stage.memory),
        )
        for stage in plan.stages
        if stage.create
    ]
    return Wanted(
        shared=(
            service_account(fine_tune, names.fine_tune_account_name(fine_tune.name)),
            config,
            ranks_service(fine_tune, names.ranks_service_name(fine_tune.name), PORTS),
            *_budget(fine_tune),
        ),
        workload=tuple(job(mould, seat) for seat in seats),
        gangs=tuple(group for seat in seats if (group := gang_of(mould, seat).group)),
        token=token_secret(fine_tune) if any(mould.is_checked(seat) for seat in seats) else "",
    )


def _budget(fine_tune: HunyuanFineTune) -> tuple[Object, ...]:
    """Of the training: the other stages are one pod, and soon done again."""
    if not fine_tune.spec.scheduling.disruption.budget:
        return ()
    name = names.fine_tune_budget_name(fine_tune.name)
    return (disruption_budget(fine_tune, name, {names.STAGE: Stage.TRAIN.value}, fine_tune.spec.nodes),)
