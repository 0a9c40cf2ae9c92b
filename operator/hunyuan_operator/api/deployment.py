"""HunyuanDeployment: the spec that people write; the status that they read is in ``deployment_status``.

Field names are camelCase in YAML and snake_case here. Only what an OpenAPI structural schema can express is used:
bounds by ``ge``/``le``, no tuples, a union as "exactly one optional member" with a CEL rule beside it. Descriptions,
the classes' too, are the texts of ``kubectl explain``.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from hunyuan_operator.api.architecture import HUNYUAN_LARGE, Architecture
from hunyuan_operator.api.base import Model
from hunyuan_operator.api.deployment_status import (
    Condition,
    Failure,
    GroupProgress,
    GroupStatus,
    HunyuanDeploymentStatus,
    PlanStatus,
)
from hunyuan_operator.api.engine_args import ExtraArgs
from hunyuan_operator.api.quantities import parse_quantity
from hunyuan_operator.api.sources import HuggingFaceSource, ImageSource, ModelSource, PvcSource
from hunyuan_operator.api.validation import (
    DURATION,
    Duration,
    ImageReference,
    InterfaceName,
    NodeSelector,
    ObjectName,
    Quantity,
    ResourceName,
    Rule,
    rules,
)
from hunyuan_operator.errors import InvalidSpec
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

    per_node: int = Field(default=8, ge=1, le=16, description="GPUs (and ranks) in each pod")
    memory: Quantity = Field(default="96Gi", description="Memory of one GPU")
    resource_name: ResourceName = Field(default="nvidia.com/gpu", description="Extended resource that is one GPU")

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
        default=0.92, ge=0.1, le=1.0, description="Part of a GPU's memory that the engine may use"
    )
    kv_cache_dtype: Literal["auto", "fp8"] = Field(
        default="auto", description="Element type of the KV cache; auto is the model's own"
    )
    extra_args: ExtraArgs = Field(
        default={},
        description="Further long options of vllm serve without the dashes; checked by the engine before it starts",
    )


class Rdma(Model):
    """RDMA devices of the pods."""

    resource: ResourceName = Field(description="Extended resource that is one RDMA device, such as rdma/hca")
    count: int = Field(default=1, ge=1, le=64, description="Devices that each pod asks for")


class Preflight(Model):
    """The check of the network between a group's pods, before the model loads."""

    enabled: bool = Field(default=True, description="Whether pods of groups with several nodes check it")
    min_bandwidth: Quantity = Field(
        default="100M", description="Bits per second that every link must carry in each direction"
    )
    max_latency_milliseconds: int = Field(
        default=50, ge=1, le=10000, description="Longest round trip on a link, in milliseconds"
    )

    @property
    def min_bits_per_second(self) -> int:
        return int(parse_quantity(self.min_bandwidth))


class Network(Model):
    """What carries the traffic between the ranks."""

    interface: InterfaceName = Field(
        default="auto", description="Network interface of the pods; auto takes the one that routes to the other pods"
    )
    rdma: Rdma | None = Field(default=None, description="RDMA devices of the pods; NCCL uses TCP without them")
    preflight: Preflight = Field(default=Preflight(), description="The check of the network before the model loads")


class Backoff(Model):
    """How long to wait between attempts: doubles with every failure inside the window."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule=f"!self.initial.matches('{DURATION}') || !self.max.matches('{DURATION}')"
                " || duration(self.initial) <= duration(self.max)",
                message="initial must not be longer than max",
                field=".initial",
            )
        )
    )

    initial: Duration = Field(default="10s", description="Wait before the second attempt")
    max: Duration = Field(default="10m", description="Longest wait between attempts")


class Restart(Model):
    """How often a failing group is started again. Preempted, evicted and lost pods are no failures of the group."""

    limit: int = Field(default=5, ge=0, le=1000, description="Failures within the window before the group stalls")
    window: Duration = Field(default="1h", description="Failures older than this no longer count")
    backoff: Backoff = Field(default=Backoff(), description="How long to wait between attempts")


class Runtime(Model):
    """The pods' image and compute, beside the GPUs."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!isQuantity(string(self.sharedMemory)) || !isQuantity(string(self.memory))"
                " || quantity(string(self.sharedMemory)).compareTo(quantity(string(self.memory))) <= 0",
                message="sharedMemory counts against memory and must not be larger",
                field=".sharedMemory",
            )
        )
    )

    image: ImageReference = Field(default="", description="Runtime image; the operator's default if empty")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When a node pulls the image"
    )
    cpu: Quantity = Field(default="8", description="CPU request of each pod")
    memory: Quantity = Field(default="64Gi", description="Memory request and limit of each pod")
    shared_memory: Quantity = Field(default="16Gi", description="Size limit of /dev/shm; counts against memory")


class Scheduling(Model):
    """Which nodes the pods may use, and who gives way to them."""

    node_selector: NodeSelector = Field(default={}, description="Labels that a node must have")
    priority_class_name: ObjectName = Field(default="", description="PriorityClass of the pods")


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


class HunyuanDeployment(Model):
    """Tencent Hunyuan-Large served over several GPU nodes behind one OpenAI API."""

    metadata: dict[str, JsonValue]
    """The API's own mapping."""
    spec: HunyuanDeploymentSpec
    status: HunyuanDeploymentStatus = HunyuanDeploymentStatus()

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> Self:
        """Read the resource as the API gives it.

        The API server has checked what it stores, but by the rules of its day: an object can be older than a rule.

        Raises:
            InvalidSpec: names each field that can't be understood.

        """
        try:
            return cls.model_validate(manifest)
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
                for one in error.errors()
            )
            raise InvalidSpec("; ".join(problems)) from None

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def generation(self) -> int:
        return int(str(self.metadata["generation"]))
