"""All objects of one HunyuanFineTune."""

from hunyuan_operator.api import names
from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.build.access import service_account
from hunyuan_operator.build.job import PORTS, Mould, Seat, job, token_secret
from hunyuan_operator.build.services import ranks_service
from hunyuan_operator.build.train_config import train_config_map
from hunyuan_operator.build.wanted import Wanted
from hunyuan_operator.plan.finetune import FineTunePlan


def build_fine_tune(fine_tune: HunyuanFineTune, plan: FineTunePlan, image: str) -> Wanted:
    config = train_config_map(fine_tune)
    mould = Mould(fine_tune=fine_tune, image=image, config_map=config["metadata"]["name"])
    seats = [
        Seat(stage=stage.stage, attempt=stage.memory.attempt, nodes=stage.nodes, revision=stage.memory.revision)
        for stage in plan.stages
        if stage.create
    ]
    return Wanted(
        shared=(
            service_account(fine_tune, names.fine_tune_account_name(fine_tune.name)),
            config,
            ranks_service(fine_tune, names.ranks_service_name(fine_tune.name), PORTS),
        ),
        workload=tuple(job(mould, seat) for seat in seats),
        token=token_secret(fine_tune) if any(mould.is_checked(seat) for seat in seats) else "",
    )
