"""HunyuanDeployment: the spec that people write and the status that they read.

Field names are camelCase in YAML and snake_case here. Only what an OpenAPI structural schema can express is used: bounds
by ``ge``/``le``, no tuples, a union as "exactly one optional member" with a CEL rule beside it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from hunyuan_runtime.config import Quantization


class Model(BaseModel):
    """Base of all API types: camelCase, frozen. Unknown fields are pruned by the API server, so they are ignored here."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class PvcSource(Model):
    """A folder in a PersistentVolumeClaim of the same namespace, mounted read-only."""

    claim_name: str = Field(min_length=1, max_length=253)
    path: str = Field(default="", max_length=1024, description="Folder inside the volume; relative, without '..'")


class ImageSource(Model):
    """A checkpoint packed as an OCI image, mounted as an image volume."""

    reference: str = Field(min_length=1, max_length=1024)
    path: str = Field(default="", max_length=1024, description="Folder inside the image; relative, without '..'")


class ModelSource(Model):
    """Where the checkpoint comes from: exactly one of pvc and image."""

    pvc: PvcSource | None = None
    image: ImageSource | None = None
    served_name: str = Field(
        default="", max_length=253, description="Model name in the OpenAI API; the resource's own name if empty"
    )


class Gpus(Model):
    """What one node of a group gives."""

    per_node: int = Field(default=8, ge=1, le=16, description="GPUs (and ranks) in each pod")
    memory: str = Field(default="96Gi", description="Memory of one GPU")
    resource_name: str = Field(default="nvidia.com/gpu", description="Extended resource that stands for one GPU")


class Parallelism(Model):
    """How the ranks split the model; tensor x pipeline is a multiple of gpus.perNode, or less than it."""

    tensor: int = Field(ge=1, le=128, description="Tensor parallel ranks")
    pipeline: int = Field(default=1, ge=1, le=64, description="Pipeline parallel stages")


class Engine(Model):
    """vLLM's own knobs, under vLLM's own names."""

    max_num_seqs: int = Field(default=8, ge=1, le=4096, description="Sequences in one batch")
    gpu_memory_utilization: float = Field(default=0.92, ge=0.1, le=1.0)
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    extra_args: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Further long options of vllm serve without the dashes; checked by the engine before it starts",
    )


class Backoff(Model):
    initial: str = Field(default="10s", description="Wait before the second attempt; doubles with every failure")
    max: str = Field(default="10m", description="Longest wait between attempts")


class Restart(Model):
    """How often a failing group is started again."""

    limit: int = Field(default=5, ge=0, le=1000, description="Failures within the window before the group stalls")
    window: str = Field(default="1h", description="Failures older than this no longer count")
    backoff: Backoff = Backoff()


class Runtime(Model):
    """The pods' image and compute, beside the GPUs."""

    image: str = Field(default="", max_length=1024, description="Runtime image; the operator's default if empty")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    cpu: str = Field(default="8", description="CPU request of each pod")
    memory: str = Field(default="64Gi", description="Memory request and limit of each pod")
    shared_memory: str = Field(default="16Gi", description="Size limit of /dev/shm; counts against memory")


class Scheduling(Model):
    node_selector: dict[str, str] = Field(default_factory=dict)
    priority_class_name: str = ""


class HunyuanDeploymentSpec(Model):
    model: ModelSource
    quantization: Quantization = "bf16"
    max_model_len: int = Field(default=10240, ge=16, le=1048576, description="Tokens, prompt and answer together")
    groups: int = Field(default=1, ge=0, le=1000, description="Independent model instances; what kubectl scale sets")
    gpus: Gpus = Gpus()
    parallelism: Parallelism | None = Field(default=None, description="Overrides what the planner derives")
    engine: Engine = Engine()
    restart: Restart = Restart()
    runtime: Runtime = Runtime()
    scheduling: Scheduling = Scheduling()
    suspend: bool = Field(default=False, description="Delete the pods and keep everything else")


class Condition(Model):
    """metav1.Condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: str
    observed_generation: int = 0


class Failure(Model):
    """The root cause of an attempt's end; stays until the next failure replaces it."""

    time: str
    group: int
    attempt: int
    pod: str
    container: str = ""
    node: str = ""
    exit_code: int | None = None
    reason: str
    message: str = ""
    retryable: bool = True
    log: str = Field(default="", description="Last lines of the container's log")


class GroupStatus(Model):
    """One group.

    ``attempt``, ``failures``, ``retry_at``, ``revision``, ``reason``, ``message`` and ``retryable`` are the operator's
    memory of restarts; the rest is observed. A set ``retry_at`` means that this attempt has ended, by a failure or by
    intent, and that whatever happens to its remaining pods is no news.
    """

    index: int
    attempt: int = 0
    ready: bool = False
    state: str = Field(default="", description="Pending, Starting, Joined, Loading, Serving, BackOff, Stalled, Stopping")
    nodes: list[str] = Field(default_factory=list)
    failures: list[str] = Field(default_factory=list, description="Times of the failures inside the restart window")
    retry_at: str = Field(default="", description="Earliest start of the next attempt; empty while this one lasts")
    revision: str = Field(default="", description="Revision of the attempt's pods")
    reason: str = Field(default="", description="Why the attempt ended, if it failed")
    message: str = Field(default="", description="What happened then")
    retryable: bool = Field(default=True, description="Whether a retry without a change can help")
    started_at: str = ""
    ready_at: str = ""


class PlanStatus(Model):
    nodes: int
    tensor_parallel: int
    pipeline_parallel: int


class HunyuanDeploymentStatus(Model):
    observed_generation: int = 0
    groups: int = Field(default=0, description="Groups that exist; for the scale subresource")
    ready_groups: int = 0
    selector: str = Field(default="", description="Label selector of the leaders; for the scale subresource")
    url: str = ""
    conditions: list[Condition] = Field(default_factory=list)
    group_statuses: list[GroupStatus] = Field(default_factory=list)
    plan: PlanStatus | None = None
    last_failure: Failure | None = None


class HunyuanDeployment(Model):
    """A HunyuanDeployment as read from the API; ``metadata`` stays the API's own mapping."""

    metadata: dict[str, JsonValue]
    spec: HunyuanDeploymentSpec
    status: HunyuanDeploymentStatus = HunyuanDeploymentStatus()

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
