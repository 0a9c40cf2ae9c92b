"""The status of a HunyuanFineTune. As with a HunyuanDeployment's, what is absent was not written."""

from typing import Literal

from pydantic import Field

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.status import Condition, Failure, RestartMemory
from hunyuan_operator.api.validation import list_map


class StageStatus(RestartMemory):
    """One stage: the operator's memory of its restarts, and what it came to."""

    name: str = Field(description="check, train, merge, quantize or evaluate")
    resumed_from: int | None = Field(
        default=None, description="Step of the newest checkpoint when the attempt began, of the training"
    )
    finished_at: str = Field(default="", description="When the stage succeeded; it does not run again then")
    report: str = Field(default="", description="What it came to, in one line with the figures")


class FineTuneProgress(Model):
    """How far the running stage is. Written at most every ten seconds."""

    step: int | None = Field(default=None, description="Optimizer steps done, of the training")
    total_steps: int | None = Field(default=None, description="All of them")
    done: int | None = Field(default=None, description="Lines, bytes or examples done, of the other stages")
    total: int | None = Field(default=None, description="All of them")
    loss: float | None = Field(default=None, description="Of the last logged step, mean over its tokens")
    learning_rate: float | None = Field(default=None, description="At that step")
    tokens_per_second: float | None = Field(default=None, description="Over all GPUs, padding not counted")
    mfu: float | None = Field(default=None, description="Model FLOP utilisation, where the device's peak is known")
    estimated_finish: str | None = Field(default=None, description="When the stage is done, at its present pace")
    last_checkpoint: int | None = Field(default=None, description="Step of the last complete checkpoint")
    time: str = Field(description="When these figures were taken")


class Evaluation(Model):
    """What the evaluation found on the held-out file."""

    loss: float | None = Field(default=None, description="Mean over the answers' tokens")
    accuracy: float | None = Field(default=None, description="Part of the answers that match exactly")
    field_accuracy: float | None = Field(default=None, description="Part of the fields, where answers are JSON")


class Artifact(Model):
    """A folder that a stage made."""

    claim_name: str = Field(description="PersistentVolumeClaim that holds it")
    path: str = Field(description="Folder inside the volume")
    digest: str = Field(description="Of its content: another result has another")


class HunyuanFineTuneStatus(Model):
    """What is there. Written by the operator."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this status is about")
    stage: Literal["", "check", "train", "merge", "quantize", "evaluate"] = Field(
        default="", description="Stage that runs, or is next; empty when all are done"
    )
    state: str = Field(
        default="",
        description="Pending, Fetching, Checking, Starting, Training, Saving, Merging, Quantizing, Evaluating, "
        "BackOff, Stalled, Suspended, Complete",
    )
    conditions: list[Condition] = Field(
        default_factory=list, description="How it stands, one entry a type", json_schema_extra=list_map("type")
    )
    stages: list[StageStatus] = Field(
        default_factory=list,
        description="Each stage that has begun, in their order",
        json_schema_extra=list_map("name"),
    )
    progress: FineTuneProgress | None = Field(default=None, description="Of the stage that runs")
    final_loss: float | None = Field(default=None, description="Of the last training step")
    evaluation: Evaluation | None = Field(default=None, description="What the held-out file showed")
    result: Artifact | None = Field(
        default=None,
        description="The tuned model, once it is complete; HunyuanDeployments serve it by spec.model.fineTune",
    )
    adapter: Artifact | None = Field(default=None, description="The LoRA adapter, in peft's own format")
    last_failure: Failure | None = Field(default=None, description="The root cause of the latest attempt that failed")
