"""HunyuanFineTune: the spec that people write; the status that they read is in ``finetune_status``.

As in ``deployment``, only what a structural schema can express is used. A field that another one excludes (such as
``lora``, which only one method may have) is optional, and its default no default of the schema's: absent means it.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.finetune_status import HunyuanFineTuneStatus
from hunyuan_operator.api.resource import Resource
from hunyuan_operator.api.sources import BaseModelSource, ConfigMapKey
from hunyuan_operator.api.validation import Duration, ObjectName, PositiveNumber, RelativePath, Rule, rules
from hunyuan_operator.api.workload import Network, Restart, Runtime, Scheduling
from hunyuan_runtime.train_config import Method, Precision

GPU = "nvidia.com/gpu"
"""Extended resource that the training asks for."""


class PvcFile(Model):
    """A file in a PersistentVolumeClaim of the same namespace, mounted read-only."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(rule="!self.path.endsWith('/')", message="must be a file, not a folder", field=".path")
        )
    )

    claim_name: ObjectName = Field(min_length=1, description="Name of the PersistentVolumeClaim")
    path: RelativePath = Field(min_length=1, description="File inside the volume")


class DataSource(Model):
    """A JSONL file: one line is one conversation, ``{"messages": [{"role": ..., "content": ...}, ...]}``."""

    pvc: PvcFile = Field(description="A file in a PersistentVolumeClaim, mounted read-only")


class PvcFolder(Model):
    """A folder in a PersistentVolumeClaim of the same namespace, mounted for writing."""

    claim_name: ObjectName = Field(
        min_length=1, description="Name of the PersistentVolumeClaim; ReadWriteMany where there are several nodes"
    )
    path: RelativePath = Field(min_length=1, description="Folder inside the volume, of this fine-tune alone")


class Output(Model):
    """Where checkpoints, curves and results go."""

    pvc: PvcFolder = Field(description="A folder in a PersistentVolumeClaim, mounted for writing")


Target = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra=rules(
            Rule(rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')", message="must be a module's name, such as q_proj")
        ),
    ),
]


class Lora(Model):
    """Low-rank adapters beside frozen weights, under peft's names."""

    rank: int = Field(default=64, ge=1, le=4096, description="Rank of the two small matrices")
    alpha: PositiveNumber = Field(default=128, le=65536, description="The adapter is scaled by alpha / rank")
    dropout: float = Field(
        default=0.1,
        ge=0,
        le=1,
        json_schema_extra=rules(Rule(rule="self < 1.0", message="must be below 1")),
        description="Dropout in front of the adapter",
    )
    targets: list[Target] = Field(
        default=["q_proj", "k_proj", "v_proj", "o_proj"],
        min_length=1,
        max_length=32,
        description="Linear modules that get one, by the last part of their name",
    )


class ConfigMapFile(Model):
    """A key of a ConfigMap of the same namespace."""

    name: ObjectName = Field(min_length=1, description="Name of the ConfigMap")
    key: ConfigMapKey = Field(default="deepspeed.json", min_length=1, description="Key whose value is the file")


class DeepSpeed(Model):
    """How the ranks share the model's and the optimizer's state."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.configMap) || !has(self.zero) && !has(self.offload)",
                message="configMap holds the whole configuration: drop zero and offload",
                field=".configMap",
                reason="FieldValueForbidden",
            )
        )
    )

    zero: Literal[2, 3] | None = Field(default=None, description="ZeRO stage; 3 if absent")
    offload: Literal["none", "optimizer", "all"] | None = Field(
        default=None, description="What is kept in the host's memory, parameters too with all; none if absent"
    )
    config_map: ConfigMapFile | None = Field(
        default=None, description="A DeepSpeed configuration of your own; checked against spec.training"
    )


class Training(Model):
    """Steps, sizes and rates. Sizes are a GPU's, lengths are tokens, rates are absolute."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="self.minLearningRate <= self.learningRate",
                message="must not be above learningRate, from which it goes down",
                field=".minLearningRate",
            ),
            Rule(
                rule="self.saveSteps <= self.maxSteps",
                message="must not be above maxSteps: nothing would be saved on the way",
                field=".saveSteps",
            ),
            Rule(
                rule="self.warmupSteps < self.maxSteps",
                message="must be below maxSteps: the rate would never be reached",
                field=".warmupSteps",
            ),
        )
    )

    max_steps: int = Field(default=200, ge=1, le=100_000_000, description="Optimizer steps")
    save_steps: int = Field(
        default=100, ge=1, le=100_000_000, description="A checkpoint every so many steps, and at the end"
    )
    logging_steps: int = Field(default=1, ge=1, le=100_000_000, description="Loss and rates every so many steps")
    max_seq_length: int = Field(default=4096, ge=16, le=1_048_576, description="Longest conversation, in tokens")
    batch_size_per_gpu: int = Field(default=1, ge=1, le=4096, description="Conversations of a GPU in one pass")
    gradient_accumulation: int = Field(
        default=1,
        ge=1,
        le=65536,
        description="Passes of one step; follows when nodes changes, so that the whole batch stays",
    )
    learning_rate: PositiveNumber = Field(default=1e-5, le=1, description="After the warm-up")
    min_learning_rate: float = Field(default=1e-6, ge=0, le=1, description="At the end of the cosine")
    warmup_steps: int = Field(default=0, ge=0, le=100_000_000, description="Steps of the linear warm-up")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="AdamW's")
    max_grad_norm: float = Field(default=1.0, ge=0, le=1_000_000, description="Gradients are clipped to it; 0: never")
    expert_learning_rate_scale: PositiveNumber = Field(
        default=1.0,
        le=1000,
        description="Learning rate of the routed experts, as a part of learningRate; 0.31 is the technical report's",
    )
    gradient_checkpointing: bool = Field(default=True, description="Recompute activations instead of keeping them")
    packing: bool = Field(default=False, description="Fill sequences up with several conversations")
    precision: Precision = Field(default="bf16", description="Of the computation")
    seed: int = Field(default=0, ge=0, le=4_294_967_295, description="Of data order, dropout and new weights")


class Checkpoints(Model):
    """Checkpoints of the training."""

    keep: int = Field(default=2, ge=1, le=1000, description="Complete ones that are kept; older ones are removed")


class Merge(Model):
    """A whole model of the result, in the base model's own layout."""

    enabled: bool = Field(default=True, description="Whether it is made")
    dtype: Literal["bf16", "fp16", "fp32"] = Field(default="bf16", description="Of its weights")


class After(Model):
    """What is made of the trained weights."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="self.quantize == 'none' || self.merge.enabled",
                message="needs merge.enabled: it is the merged model that is quantised",
                field=".quantize",
            )
        )
    )

    merge: Merge = Field(default=Merge(), description="A whole model of the result, in the base model's own layout")
    quantize: Literal["none", "fp8"] = Field(default="none", description="A quantised copy of that model")


def _unchanged(field: str, *, optional: bool = False) -> Rule:
    """A transition rule: the API server evaluates it on updates only."""
    new, old = f"self.{field}", f"oldSelf.{field}"
    same = f"has({new}) == has({old}) && (!has({new}) || {new} == {old})" if optional else f"{new} == {old}"
    return Rule(
        rule=same,
        message="can't be changed: a fine-tune trains one thing, make another resource",
        field=f".{field}",
        reason="FieldValueForbidden",
    )


class HunyuanFineTuneSpec(Model):
    """What is trained, with what, where to, and on how many GPUs."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.lora) || self.method == 'lora'",
                message="is only for the method lora: drop it",
                field=".lora",
                reason="FieldValueForbidden",
            ),
            *map(_unchanged, ("model", "data", "output", "method", "deepspeed", "training")),
            *(_unchanged(field, optional=True) for field in ("evaluation", "lora")),
        )
    )

    model: BaseModelSource = Field(description="The base model: exactly one of pvc, image and huggingFace")
    data: DataSource = Field(description="What it is trained on")
    evaluation: DataSource | None = Field(default=None, description="What the result is evaluated on, held out of data")
    output: Output = Field(description="Where checkpoints, curves and results go")
    method: Method = Field(
        default="lora",
        description="lora trains small matrices beside the weights, attention those of the attention, full all",
    )
    lora: Lora | None = Field(default=None, description="Of the method lora")
    nodes: int = Field(default=1, ge=1, le=64, description="Pods that train together, one a node")
    gpus_per_node: int = Field(default=8, ge=1, le=16, description="GPUs (and ranks) in each pod")
    deepspeed: DeepSpeed = Field(
        default=DeepSpeed(), description="How the ranks share the model's and the optimizer's state"
    )
    training: Training = Field(default=Training(), description="Steps, sizes and rates")
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="Checkpoints of the training")
    after: After = Field(default=After(), description="What is made of the trained weights")
    network: Network = Field(default=Network(), description="What carries the traffic between the ranks")
    restart: Restart = Field(default=Restart(), description="How often a failing stage is started again")
    runtime: Runtime = Field(default=Runtime(), description="The pods' image and compute, beside the GPUs")
    scheduling: Scheduling = Field(default=Scheduling(), description="Which nodes the pods may use")
    ttl_after_finished: Duration | None = Field(
        default=None, description="How long Jobs and their pods are kept after they end; for ever if absent"
    )
    suspend: bool = Field(default=False, description="Delete the pods; training resumes from its last checkpoint")


class HunyuanFineTune(Resource):
    """Fine-tuning of Tencent Hunyuan-Large over several GPU nodes: checked, trained, resumed, merged, evaluated."""

    spec: HunyuanFineTuneSpec
    status: HunyuanFineTuneStatus = HunyuanFineTuneStatus()
