"""What a fine-tune's conditions say of its stages."""

from datetime import datetime

from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.api.finetune_status import FineTuneProgress
from hunyuan_operator.api.reasons import ConditionType, Reason
from hunyuan_operator.api.workload import Restart
from hunyuan_operator.build.preflight import is_checked
from hunyuan_operator.observe.finetune import ObservedFineTune
from hunyuan_operator.plan.finetune import FineTunePlan
from hunyuan_operator.plan.stages import StagePlan
from hunyuan_operator.status.conditions import Verdicts
from hunyuan_operator.status.network import network_of
from hunyuan_operator.status.problems import has_failed, is_stalled
from hunyuan_operator.status.training import in_words
from hunyuan_operator.status.verdict import Problem, Verdict, no, yes
from hunyuan_runtime.train_config import Stage, TrainPhase, TrainStatus

_CONDITIONS = {
    Stage.CHECK: ConditionType.DATA_VALIDATED,
    Stage.TRAIN: ConditionType.TRAINED,
    Stage.MERGE: ConditionType.MERGED,
    Stage.QUANTIZE: ConditionType.QUANTIZED,
    Stage.EVALUATE: ConditionType.EVALUATED,
}


def stage_verdicts(fine_tune: HunyuanFineTune, plan: FineTunePlan, progress: FineTuneProgress | None) -> Verdicts:
    result = {_CONDITIONS[stage.stage]: _of_stage(stage, plan.current, progress) for stage in plan.stages}
    suspended = no(Reason.SUSPENDED, "spec.suspend is true")
    if fine_tune.spec.suspend:
        result |= {_CONDITIONS[stage.stage]: suspended for stage in plan.stages if not stage.finished}
    if current := plan.current:
        result[ConditionType.SCHEDULED] = suspended if fine_tune.spec.suspend else _scheduled(current)
    if network := _network(fine_tune, plan):
        result[ConditionType.NETWORK_VERIFIED] = network
    return result


def state_of(plan: FineTunePlan, told: TrainStatus | None, restart: Restart, now: datetime, *, suspend: bool) -> str:
    """In one word."""
    current = plan.current
    if current is None:
        return "Complete"
    if suspend:
        return "Suspended"
    if is_stalled(current.memory, current.revision, restart, now):
        return "Stalled"
    if has_failed(current.memory, current.revision):
        return "BackOff"
    if not is_scheduled(current):
        return "Pending"
    return (told.phase if told else TrainPhase.STARTING).value


def told_of(stage: StagePlan | None, observed: ObservedFineTune) -> TrainStatus | None:
    """By the leader of an attempt that lasts; one that fetches the model may not answer yet."""
    if stage is None or stage.leader is None or stage.memory.retry_at or stage.finished:
        return None
    told = observed.told.get(stage.leader.name)
    return told or (TrainStatus(phase=TrainPhase.FETCHING) if stage.leader.fetching else None)


def is_scheduled(stage: StagePlan) -> bool:
    return (
        not stage.memory.retry_at
        and not stage.create
        and len(stage.pods) == stage.nodes
        and all(pod.node for pod in stage.pods)
    )


def progressing(fine_tune: HunyuanFineTune, plan: FineTunePlan, found: list[Problem], far: str) -> Verdict:
    current = plan.current
    if any(stage.pods for stage in plan.all if stage.memory.retry_at and not stage.wanted):
        return yes(Reason.STOPPING, "pods are being deleted")
    if current is None:
        return no(Reason.COMPLETE)
    if fine_tune.spec.suspend:
        return no(Reason.SUSPENDED, "spec.suspend is true")
    if found and found[0].stalled:
        return no(found[0].reason, found[0].message)
    what = f"stage {current.stage}, attempt {current.memory.attempt}"
    if has_failed(current.memory, current.revision):
        return yes(Reason.BACK_OFF, what)
    return yes(Reason.STAGE_RUNNING, f"{what}: {far}" if far else what)


def _of_stage(stage: StagePlan, current: StagePlan | None, progress: FineTuneProgress | None) -> Verdict:
    memory = stage.memory
    if stage.finished:
        return yes(Reason.STAGE_SUCCEEDED, memory.report)
    if stage is not current:
        return no(Reason.STAGE_WAITING, f"stage {current.stage} comes first" if current else "")
    if has_failed(memory, stage.revision):
        return no(Reason.STAGE_FAILED, f"attempt {memory.attempt}: {memory.reason}: {memory.message}")
    return no(Reason.STAGE_RUNNING, in_words(stage.stage, progress))


def _scheduled(stage: StagePlan) -> Verdict:
    if is_scheduled(stage):
        return yes(Reason.ALL_PODS_SCHEDULED)
    for pod in stage.pods:
        if pod.trouble and pod.trouble.reason is Reason.UNSCHEDULABLE and not stage.memory.retry_at:
            return no(pod.trouble.reason, f"stage {stage.stage}: {pod.trouble.message}")
    if stage.memory.started_at and not stage.memory.retry_at and len(stage.pods) < stage.nodes:
        count = f"{len(stage.pods)} of {stage.nodes} pods exist"
        return no(Reason.PODS_PENDING, f"stage {stage.stage}: {count}; if that lasts, its Job's Events say why")
    return no(Reason.PODS_PENDING, f"stage {stage.stage}: waits for its pods")


def _network(fine_tune: HunyuanFineTune, plan: FineTunePlan) -> Verdict | None:
    """Of the training alone, and of the last that was seen of it once that is over."""
    train = next(stage for stage in plan.stages if stage.stage is Stage.TRAIN)
    if not is_checked(fine_tune.spec.network, train.nodes):
        return None
    if fine_tune.spec.suspend and not train.finished:
        return no(Reason.SUSPENDED, "spec.suspend is true")
    if train.finished and not train.pods:
        before = (one for one in fine_tune.status.conditions if one.type == ConditionType.NETWORK_VERIFIED)
        return next((Verdict(status=one.status, reason=one.reason, message=one.message) for one in before), None)
    return network_of("stage train", train.memory, train.pods)
