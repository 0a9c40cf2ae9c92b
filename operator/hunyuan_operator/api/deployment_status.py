"""The status of a HunyuanDeployment. The CRD has no defaults for it: what is absent was not written."""

from pydantic import Field

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.status import Condition, Failure, RestartMemory
from hunyuan_operator.api.validation import list_map


class GroupProgress(Model):
    """How far a group's long work is. Written at most every ten seconds."""

    done_bytes: int = Field(description="Bytes fetched or loaded so far")
    total_bytes: int = Field(description="All bytes")
    estimated_finish: str | None = Field(default=None, description="When it is done, at the pace of two minutes")
    time: str = Field(description="When these figures were taken")


class GroupStatus(RestartMemory):
    """One group: the operator's memory of its restarts, and what is observed."""

    index: int = Field(description="Number of the group, from 0")
    ready: bool = Field(default=False, description="Whether the group answers requests")
    state: str = Field(
        default="", description="Pending, Fetching, Starting, Joined, Loading, Serving, BackOff, Stalled, Stopping"
    )
    ready_at: str = Field(default="", description="When the group first answered in this attempt")
    progress: GroupProgress | None = Field(default=None, description="Of the model, while state is Fetching or Loading")


class PlanStatus(Model):
    """How each group is laid out, and what its fullest GPU is expected to hold."""

    nodes: int = Field(description="Pods of a group, one a node")
    tensor_parallel: int = Field(description="Tensor parallel ranks")
    pipeline_parallel: int = Field(description="Pipeline parallel stages")
    weight_bytes_per_gpu: int = Field(default=0, description="Weights")
    kv_cache_bytes_per_gpu: int = Field(default=0, description="What is left for keys and values")
    kv_cache_tokens: int = Field(default=0, description="Tokens whose keys and values fit in a group at once")
    max_concurrency: int = Field(default=0, description="Requests of maxModelLen tokens that fit in a group at once")


class HunyuanDeploymentStatus(Model):
    """What is there. Written by the operator."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this status is about")
    groups: int = Field(default=0, description="Groups that exist; for the scale subresource")
    ready_groups: int = Field(default=0, description="Groups that answer requests")
    selector: str = Field(default="", description="Label selector of the leaders; for the scale subresource")
    url: str = Field(default="", description="Base of the OpenAI API inside the cluster")
    conditions: list[Condition] = Field(
        default_factory=list, description="How it stands, one entry a type", json_schema_extra=list_map("type")
    )
    group_statuses: list[GroupStatus] = Field(
        default_factory=list, description="Each group on its own", json_schema_extra=list_map("index")
    )
    plan: PlanStatus | None = Field(default=None, description="How each group is laid out")
    last_failure: Failure | None = Field(default=None, description="The root cause of the latest attempt that failed")
