"""The whole status of a HunyuanFineTune."""

from dataclasses import dataclass
from datetime import datetime

from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.api.finetune_status import Artifact, Evaluation, HunyuanFineTuneStatus, StageStatus
from hunyuan_operator.api.reasons import ConditionType, Reason
from hunyuan_operator.observe.finetune import ObservedFineTune
from hunyuan_operator.plan.finetune import FineTunePlan
from hunyuan_operator.plan.stages import StagePlan
from hunyuan_operator.status.conditions import Verdicts, conditions, degraded, with_kstatus
from hunyuan_operator.status.deployment import News
from hunyuan_operator.status.problems import gravest_first, of_attempt, of_pods
from hunyuan_operator.status.stages import progressing, stage_verdicts, state_of, told_of
from hunyuan_operator.status.training import in_words, training_progress
from hunyuan_operator.status.verdict import Problem, Verdict, no, yes
from hunyuan_runtime.train_config import Stage, StageReport


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the stages made, as far as they are done."""

    final_loss: float | None
    evaluation: Evaluation | None
    result: Artifact | None
    adapter: Artifact | None


def status_of_fine_tune(
    fine_tune: HunyuanFineTune, plan: FineTunePlan, observed: ObservedFineTune, news: News, now: datetime
) -> HunyuanFineTuneStatus:
    before, current = fine_tune.status, plan.current
    told = told_of(current, observed)
    known = before.progress if current and before.stage == current.stage else None
    progress = training_progress(told, known, now)
    found = _problems(fine_tune, plan, news.refusal, now)
    outcome = _outcome(fine_tune, plan)
    far = in_words(current.stage, progress) if current else ""
    verdicts: Verdicts = {
        ConditionType.READY: _ready(fine_tune, plan, outcome, found),
        ConditionType.PROGRESSING: progressing(fine_tune, plan, found, far),
        ConditionType.DEGRADED: degraded(found),
        **stage_verdicts(fine_tune, plan, progress),
    }
    return HunyuanFineTuneStatus(
        observed_generation=fine_tune.generation,
        stage=current.stage.value if current else "",
        state=state_of(plan, told, fine_tune.spec.restart, now, suspend=fine_tune.spec.suspend),
        conditions=conditions(with_kstatus(verdicts, found), before.conditions, fine_tune.generation, now),
        stages=[_stage_status(stage) for stage in plan.all if stage.memory.attempt],
        progress=progress,
        final_loss=outcome.final_loss,
        evaluation=outcome.evaluation,
        result=outcome.result,
        adapter=outcome.adapter,
        last_failure=news.failure or before.last_failure,
    )


def _problems(fine_tune: HunyuanFineTune, plan: FineTunePlan, refusal: Problem | None, now: datetime) -> list[Problem]:
    found = [refusal] if refusal else []
    if (stage := plan.current) and stage.wanted:
        what = f"stage {stage.stage}"
        found += of_attempt(what, stage.memory, stage.revision, fine_tune.spec.restart, now)
        found += of_pods(what, stage.memory, stage.pods)
    return gravest_first(found)


def _outcome(fine_tune: HunyuanFineTune, plan: FineTunePlan) -> Outcome:
    """Reports are read as long as their pods are there; what was told of them before stays."""
    before = fine_tune.status
    reports = {stage.stage: stage.report for stage in plan.stages if stage.report}
    trained, merged, evaluated = (reports.get(stage) for stage in (Stage.TRAIN, Stage.MERGE, Stage.EVALUATE))
    quantized = any(stage.stage is Stage.QUANTIZE for stage in plan.stages)
    made = reports.get(Stage.QUANTIZE) if quantized else merged
    return Outcome(
        final_loss=trained.loss if trained else before.final_loss,
        evaluation=_evaluation(evaluated) if evaluated else before.evaluation,
        result=(_artifact(fine_tune, made.model, made.digest) if made else None) or before.result,
        adapter=(_artifact(fine_tune, merged.adapter, merged.adapter_digest) if merged else None) or before.adapter,
    )


def _evaluation(report: StageReport) -> Evaluation:
    return Evaluation(loss=report.loss, accuracy=report.accuracy, field_accuracy=report.field_accuracy)


def _artifact(fine_tune: HunyuanFineTune, folder: str, digest: str) -> Artifact | None:
    """None if no such folder was made."""
    if not folder:
        return None
    output = fine_tune.spec.output.pvc
    return Artifact(claim_name=output.claim_name, path=f"{output.path.rstrip('/')}/{folder}", digest=digest)


def _ready(fine_tune: HunyuanFineTune, plan: FineTunePlan, outcome: Outcome, found: list[Problem]) -> Verdict:
    if plan.current is None:
        made = outcome.result or outcome.adapter
        return yes(Reason.COMPLETE, f"{made.path} in claim {made.claim_name}" if made else "")
    if fine_tune.spec.suspend:
        return no(Reason.SUSPENDED, "spec.suspend is true")
    count = f"{sum(stage.finished for stage in plan.stages)} of {len(plan.stages)} stages are done"
    if found:
        return no(found[0].reason, f"{count}; {found[0].message}")
    return no(Reason.NOT_COMPLETE, count)


def _stage_status(stage: StagePlan) -> StageStatus:
    """An attempt that ended keeps the nodes on which it ran."""
    if stage.memory.retry_at or stage.finished:
        return stage.memory
    return stage.memory.model_copy(update={"nodes": [pod.node for pod in stage.pods if pod.node]})
