"""The contract of a fine-tune: what the operator tells a stage's pods, and what they answer.

A fine-tune is a chain of stages, each of them a Job: ``check`` reads the whole of the data before a GPU is asked for,
``train`` runs over all nodes, ``merge``, ``quantize`` and ``evaluate`` are one pod each. All read the same
:class:`TrainConfig` at :data:`~hunyuan_runtime.config.CONFIG_PATH`; the stage is the argument of
``python -m hunyuan_runtime.train STAGE``, and :class:`~hunyuan_runtime.config.Rank` comes by environment.

In the other direction rank 0 answers ``GET /status`` on :data:`~hunyuan_runtime.config.Port.STATUS` with a
:class:`TrainStatus`; a stage that succeeds leaves a :class:`StageReport` as its termination message, one that fails a
:class:`hunyuan_runtime.termination.TerminationMessage`.

Folders below ``output``::

    checkpoints/step-00000100/        complete when it holds MANIFEST, which is written last
    merged/                           model folder of the base's layout, complete when it exists (made by a rename)
    adapter/                          the LoRA adapter in peft's own format, likewise
    fp8/                              quantised model folder, likewise
    evaluation.json                   report of the evaluation
    metrics.jsonl, tensorboard/       curves of the training

Imports pydantic and the standard library only, as :mod:`hunyuan_runtime.config`.
"""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hunyuan_runtime.config import HubSource, NetworkConfig

DATA_ROOT = PurePosixPath("/data")
EVALUATION_ROOT = PurePosixPath("/evaluation")
OUTPUT_ROOT = PurePosixPath("/output")
DEEPSPEED_PATH = PurePosixPath("/etc/hunyuan/deepspeed/deepspeed.json")
RENDEZVOUS_PORT = 29500
"""torch.distributed's store on rank 0's pod."""
MANIFEST = "manifest.json"
"""In a checkpoint's folder: every file with its size and hash. Written last; without it the checkpoint isn't one."""

Method = Literal["lora", "full", "attention"]
Precision = Literal["bf16", "fp32"]


class Stage(StrEnum):
    """In the order in which they run; ``check`` and ``train`` always do."""

    CHECK = "check"
    TRAIN = "train"
    MERGE = "merge"
    QUANTIZE = "quantize"
    EVALUATE = "evaluate"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraConfig(_Frozen):
    """As peft's, whose names they are; ``alpha`` is its ``lora_alpha``."""

    rank: int = Field(default=64, ge=1)
    alpha: float = Field(default=128, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


class DeepSpeedConfig(_Frozen):
    """``own``: the user's DeepSpeed JSON is mounted at :data:`DEEPSPEED_PATH`; zero and offload then say nothing."""

    zero: Literal[2, 3] = 3
    offload: Literal["none", "optimizer", "all"] = "none"
    own: bool = False


class TrainingConfig(_Frozen):
    """Sizes are a GPU's, lengths are tokens, rates are absolute."""

    max_steps: int = Field(ge=1, description="optimizer steps")
    save_steps: int = Field(ge=1, description="a checkpoint every so many steps, and at the end")
    logging_steps: int = Field(default=1, ge=1)
    max_seq_length: int = Field(ge=16)
    batch_size_per_gpu: int = Field(default=1, ge=1)
    gradient_accumulation: int = Field(
        default=1,
        ge=1,
        description="at spec.nodes as first trained with; on fewer or more nodes it follows, so that the batch stays",
    )
    learning_rate: float = Field(default=1e-5, gt=0)
    min_learning_rate: float = Field(default=1e-6, ge=0, description="at the end of the cosine")
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0, description="0 clips nothing")
    expert_learning_rate_scale: float = Field(
        default=1.0, gt=0, description="of the routed experts against all else (report: 0.31)"
    )
    gradient_checkpointing: bool = True
    packing: bool = False
    precision: Precision = "bf16"
    seed: int = 0


class TrainConfig(_Frozen):
    """One fine-tune, the same for all its stages."""

    name: str = Field(description="of the fine-tune, for messages")
    model_path: str = Field(description="absolute folder of the base checkpoint inside the pod")
    hub: HubSource | None = None
    data_path: str = Field(description="absolute path of the training file")
    evaluation_path: str = Field(default="", description="absolute path of the held-out file, if any")
    output: str = Field(description="absolute folder of everything that is made; see the module's text")
    method: Method = "lora"
    lora: LoraConfig = LoraConfig()
    nodes: int = Field(ge=1, description="pods of the stage train")
    gpus_per_node: int = Field(ge=1)
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    training: TrainingConfig
    keep_checkpoints: int = Field(default=2, ge=1, description="complete ones; older are removed")
    merge: bool = Field(default=True, description="whether to make merged/; what LoRA trained becomes adapter/ anyway")
    merge_dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    quantize: Literal["none", "fp8"] = "none"
    network: NetworkConfig = NetworkConfig()
    join_timeout_seconds: int = Field(default=600, ge=1, description="until all ranks have met")
    collective_timeout_seconds: int = Field(
        default=120, ge=10, description="of one collective operation: a rank that is lost without a trace ends them all"
    )

    @property
    def world_size(self) -> int:
        return self.nodes * self.gpus_per_node


class TrainPhase(StrEnum):
    FETCHING = "Fetching"
    STARTING = "Starting"
    CHECKING = "Checking"
    TRAINING = "Training"
    SAVING = "Saving"
    MERGING = "Merging"
    QUANTIZING = "Quantizing"
    EVALUATING = "Evaluating"


class TrainStatus(_Frozen):
    """Body of ``GET /status``. ``done`` and ``total`` count steps in training, else lines, bytes or examples."""

    phase: TrainPhase
    done: int = Field(default=0, ge=0)
    total: int = Field(default=0, ge=0)
    remaining_seconds: int | None = Field(default=None, ge=0)
    loss: float | None = Field(default=None, description="of the last logged step, mean over its tokens")
    learning_rate: float | None = None
    tokens_per_second: float | None = Field(default=None, description="over all GPUs, padding not counted")
    mfu: float | None = Field(
        default=None, description="model FLOP utilisation; None where the device's peak isn't known"
    )
    checkpoint: int | None = Field(default=None, description="step of the last complete checkpoint")
    message: str = ""


class StageReport(_Frozen):
    """What a stage leaves when it succeeds; each fills what it knows."""

    stage: Stage
    steps: int | None = None
    loss: float | None = Field(default=None, description="of the last step")
    tokens: int | None = Field(default=None, description="trained on (train), or in the file (check)")
    examples: int | None = None
    model: str = Field(default="", description="folder that was made, relative to output: merged or fp8")
    digest: str = Field(default="", description="of that folder's content: another result is another digest")
    adapter: str = Field(default="", description="merge: folder of the LoRA adapter, relative to output")
    adapter_digest: str = ""
    accuracy: float | None = Field(default=None, description="evaluate: part of the answers that match exactly")
    field_accuracy: float | None = Field(
        default=None, description="evaluate: part of the fields, where answers are JSON"
    )
    message: str = Field(default="", description="one line for people, with the figures")

    @classmethod
    def parse(cls, text: str) -> "StageReport | None":
        """None when the text is something else."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None
