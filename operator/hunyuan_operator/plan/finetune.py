"""What to do with a whole HunyuanFineTune: its stages run one after the other, each once the ones before are done."""

from dataclasses import dataclass
from datetime import datetime

from hunyuan_operator.api.finetune import HunyuanFineTune, HunyuanFineTuneSpec
from hunyuan_operator.api.finetune_status import StageStatus
from hunyuan_operator.api.times import parse_duration
from hunyuan_operator.observe.finetune import ObservedFineTune
from hunyuan_operator.plan.revision import stage_revision
from hunyuan_operator.plan.stages import StageOrder, StagePlan, plan_stage
from hunyuan_runtime.train_config import Stage


@dataclass(frozen=True, kw_only=True)
class FineTunePlan:
    """``stages`` are those that the spec asks for, in their order; ``leavings`` what is left of others."""

    stages: tuple[StagePlan, ...]
    leavings: tuple[StagePlan, ...] = ()

    @property
    def current(self) -> StagePlan | None:
        """The stage that runs, or is next; None when all are done."""
        return next((stage for stage in self.stages if not stage.finished), None)

    @property
    def all(self) -> tuple[StagePlan, ...]:
        return (*self.stages, *self.leavings)


def stages_of(spec: HunyuanFineTuneSpec) -> tuple[Stage, ...]:
    """A training leaves shards of ranks: merging makes an adapter of them, a whole model, or both."""
    asked = {
        Stage.CHECK: True,
        Stage.TRAIN: True,
        Stage.MERGE: True,
        Stage.QUANTIZE: spec.after.quantize != "none",
        Stage.EVALUATE: spec.evaluation is not None,
    }
    return tuple(stage for stage in Stage if asked[stage])


def plan_fine_tune(fine_tune: HunyuanFineTune, observed: ObservedFineTune, now: datetime) -> FineTunePlan:
    spec = fine_tune.spec
    asked = stages_of(spec)
    known = {stage.name: stage for stage in fine_tune.status.stages}
    stages: list[StagePlan] = []
    leavings: list[StagePlan] = []
    for stage in Stage:
        memory = known.get(stage, StageStatus(name=stage))
        attempts = observed.of(stage)
        order = StageOrder(
            fine_tune=fine_tune.name,
            stage=stage,
            wanted=stage in asked and not spec.suspend and all(one.finished for one in stages),
            revision=stage_revision(spec, stage),
            nodes=spec.nodes if stage is Stage.TRAIN else 1,
            restart=spec.restart,
            retry=fine_tune.retry,
            checkpoint=_checkpoint(fine_tune, stage),
            keep=parse_duration(spec.ttl_after_finished) if spec.ttl_after_finished else None,
        )
        if stage in asked:
            stages.append(plan_stage(memory, attempts, order, now))
        elif memory.attempt or attempts:
            leavings.append(plan_stage(memory, attempts, order, now))
    return FineTunePlan(stages=tuple(stages), leavings=tuple(leavings))


def _checkpoint(fine_tune: HunyuanFineTune, stage: Stage) -> int | None:
    progress = fine_tune.status.progress
    return progress.last_checkpoint if progress and stage is Stage.TRAIN else None
