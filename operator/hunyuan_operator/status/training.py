"""How far a fine-tune's running stage is: told seldom enough that watching it costs few writes."""

from datetime import datetime, timedelta

from hunyuan_operator.api.finetune_status import FineTuneProgress
from hunyuan_operator.api.times import format_time, parse_time
from hunyuan_operator.status.progress import INTERVAL, rounded
from hunyuan_runtime.train_config import Stage, TrainPhase, TrainStatus

_OF_STEPS = {TrainPhase.TRAINING, TrainPhase.SAVING}
"""Phases whose ``done`` and ``total`` are optimizer steps."""


def training_progress(
    told: TrainStatus | None, before: FineTuneProgress | None, now: datetime
) -> FineTuneProgress | None:
    """The new figures, or those before: while there are none, these are young, or nothing but the time has changed."""
    if told is None or (told.phase is TrainPhase.STARTING and before):
        return before
    steps = told.phase in _OF_STEPS
    finish = now + timedelta(seconds=told.remaining_seconds) if told.remaining_seconds is not None else None
    counted = bool(told.total)
    new = FineTuneProgress(
        step=told.done if steps and counted else None,
        total_steps=told.total if steps and counted else None,
        done=told.done if not steps and counted else None,
        total=told.total if not steps and counted else None,
        loss=told.loss,
        learning_rate=told.learning_rate,
        tokens_per_second=told.tokens_per_second,
        mfu=told.mfu,
        estimated_finish=format_time(finish) if finish else None,
        last_checkpoint=told.checkpoint if told.checkpoint is not None else before and before.last_checkpoint,
        time=format_time(now),
    )
    if before is None:
        return new
    young = now < parse_time(before.time) + INTERVAL and told.done < told.total
    return before if young or _figures(before) == _figures(new) else new


def in_words(stage: Stage, progress: FineTuneProgress | None) -> str:
    """Such as ``step 120 of 200, loss 0.42, about 4 min left``; empty while nothing is known."""
    if progress is None:
        return ""
    parts = []
    if progress.step is not None:
        parts.append(f"step {progress.step} of {progress.total_steps}")
    elif progress.total is not None:
        parts.append(f"{progress.done} of {progress.total}")
    if progress.loss is not None and stage is Stage.TRAIN:
        parts.append(f"loss {progress.loss:.4g}")
    if progress.estimated_finish is not None:
        parts.append(f"{rounded(parse_time(progress.estimated_finish) - parse_time(progress.time))} left")
    return ", ".join(parts)


def _figures(progress: FineTuneProgress) -> FineTuneProgress:
    return progress.model_copy(update={"time": "", "estimated_finish": None})
