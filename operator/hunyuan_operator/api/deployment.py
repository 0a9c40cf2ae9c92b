"""HunyuanDeployment: the spec that people write; the status that they read is in ``deployment_status``.

Field names are camelCase in YAML and snake_case here. Only what an OpenAPI structural schema can express is used:
bounds by ``ge``/``le``, no tuples, a union as "exactly one optional member" with a CEL rule beside it. Descriptions,
the classes' too, are the texts of ``kubectl explain``.
"""

from typing import Literal

from pydantic import ConfigDict, Field

from hunyuan_operator.api.architecture import HUNYUAN_LARGE, Architecture
from hunyuan_operator.api.base import Model
from hunyuan_operator.api.deployment_status import GroupProgress, GroupStatus, HunyuanDeploymentStatus, PlanStatus
from hunyuan_operator.api.engine_args import ExtraArgs
from hunyuan_operator.api.quantities import parse_quantity
from hunyuan_operator.api.resource import Resource
from hunyuan_operator.api.sources import HuggingFaceSource, ImageSource, ModelSource, PvcSource
from hunyuan_operator.api.status import Condition, Failure
from hunyuan_operator.api.validation import ObjectName, Quantity, ResourceName, Rule, rules
from hunyuan_operator.api.workload import Backoff, Network, Preflight, Rdma, Restart, Runtime, Scheduling
from hunyuan_runtime.config import Quantization

__all__ = [
    "HUNYUAN_LARGE",
    "Architecture",
    "Backoff",
    "Condition",
    "Engine",
    "Failure",
    "Gpus",
    "GroupProgress",
    "GroupStatus",
    "HuggingFaceSource",
    "HunyuanDeployment",
    "HunyuanDeploymentSpec",
    "HunyuanDeploymentStatus",
    "ImageSource",
    "ModelSource",
    "Network",
    "Parallelism",
    "PlanStatus",
    "Preflight",
    "PvcSource",
    "Rdma",
    "Restart",
    "Runtime",
    "Scheduling",
]


class Gpus(Model):
    """What one node of a group gives."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="self.resourceClaimTemplate == '' || self.resourceName == 'nvidia.com/gpu'",
                message="takes the place of resourceName: drop one of them",
                field=".resourceClaimTemplate",
                reason="FieldValueForbidden",
            )
        )
    )

    per_node: int = Field(default=8, ge=1, le=16, description="GPUs (and ranks) in each pod")
    memory: Quantity = Field(default="96Gi", description="Memory of one GPU")
    resource_name: ResourceName = Field(default="nvidia.com/gpu", description="Extended resource that is one GPU")
    resource_claim_template: ObjectName = Field(
        default="", description="ResourceClaimTemplate of perNode GPUs (DRA), instead of the extended resource"
    )

    @property
    def memory_bytes(self) -> int:
        return int(parse_quantity(self.memory))


class Parallelism(Model):
    """How the ranks split the model; tensor x pipeline is a multiple of gpus.perNode, or less than it."""

    tensor: int = Field(ge=1, le=128, description="Tensor parallel ranks")
    pipeline: int = Field(default=1, ge=1, le=64, description="Pipeline parallel stages")


class Engine(Model):
    """vLLM's own knobs, under vLLM's own names."""

    max_num_seqs: int = Field(default=8, ge=1, le=4096, description="Sequences in one batch")
    gpu_memory_utilization: float = Field(
        default=0.92,
        le=1,
        json_schema_extra=rules(Rule(rule="self >= 0.1", message="must be at least 0.1")),
        description="Part of a GPU's memory that the engine may use",
    )
    kv_cache_dtype: Literal["auto", "fp8"] = Field(
        default="auto", description="Element type of the KV cache; auto is the model's own"
    )
    extra_args: ExtraArgs = Field(
        default={},
        description="Further long options of vllm serve without the dashes; checked by the engine before it starts",
    )


class HunyuanDeploymentSpec(Model):
    """What is served, by how many groups, on which GPUs."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.parallelism)"
                " || self.parallelism.tensor * self.parallelism.pipeline < self.gpus.perNode"
                " || self.parallelism.tensor * self.parallelism.pipeline % self.gpus.perNode == 0",
                message="tensor x pipeline must be a multiple of gpus.perNode, or less than it",
                field=".parallelism",
            )
        )
    )

    model: ModelSource = Field(description="Where the checkpoint comes from: exactly one of pvc, image and huggingFace")
    quantization: Quantization = Field(
        default="bf16", description="Of the weights; int8 and fp8 are made at load unless the checkpoint is quantised"
    )
    max_model_len: int = Field(default=10240, ge=16, le=1048576, description="Tokens, prompt and answer together")
    groups: int = Field(default=1, ge=0, le=1000, description="Independent model instances; what kubectl scale sets")
    gpus: Gpus = Field(default=Gpus(), description="What one node of a group gives")
    parallelism: Parallelism | None = Field(
        default=None, description="How the ranks split the model; overrides what the operator derives"
    )
    engine: Engine = Field(default=Engine(), description="vLLM's own knobs, under vLLM's own names")
    network: Network = Field(default=Network(), description="What carries the traffic between the ranks")
    restart: Restart = Field(default=Restart(), description="How often a failing group is started again")
    runtime: Runtime = Field(default=Runtime(), description="The pods' image and compute, beside the GPUs")
    scheduling: Scheduling = Field(default=Scheduling(), description="Which nodes the pods may use")
    suspend: bool = Field(default=False, description="Delete the pods and keep everything else")


class HunyuanDeployment(Resource):
    """Tencent Hunyuan-Large served over several GPU nodes behind one OpenAI API."""

    spec: HunyuanDeploymentSpec
    status: HunyuanDeploymentStatus = HunyuanDeploymentStatus()
