"""What the pods of every kind of resource have in common: network, restarts, image and compute, scheduling."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.quantities import parse_quantity
from hunyuan_operator.api.validation import (
    DURATION,
    Duration,
    ImageReference,
    InterfaceName,
    LabelValue,
    NodeSelector,
    ObjectName,
    Quantity,
    ResourceName,
    Rule,
    rules,
)


class Rdma(Model):
    """RDMA devices of the pods."""

    resource: ResourceName = Field(description="Extended resource that is one RDMA device, such as rdma/hca")
    count: int = Field(default=1, ge=1, le=64, description="Devices that each pod asks for")


class Preflight(Model):
    """The check of the network between the pods, before the model loads."""

    enabled: bool = Field(default=True, description="Whether pods check it, where there are several")
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
    """How often what fails is started again. Preempted, evicted and lost pods are no failures.

    The same failure three times in a row ends it sooner; ten minutes of answering, or a new checkpoint, begin it anew.
    """

    limit: int = Field(default=5, ge=0, le=1000, description="Failures within the window before no more is tried")
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


GpuProduct = Annotated[LabelValue, Field(min_length=1)]
TopologyKey = Annotated[
    str,
    Field(
        max_length=317,
        json_schema_extra=rules(
            Rule(
                rule="self == '' || !format.qualifiedName().validate(self).hasValue()",
                message="must be a label's name, such as topology.kubernetes.io/zone",
            ),
            Rule(
                rule="self != 'kubernetes.io/hostname'",
                message="can't be a single node: the pods of an attempt are on different nodes",
            ),
        ),
    ),
]
Provider = Literal["none", "kueue", "volcano", "coscheduling", "workload"]


class GangScheduling(Model):
    """Who sees to it that all pods of an attempt are scheduled, or none."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="self.provider != 'kueue' || self.queue != ''",
                message="kueue needs the name of a LocalQueue",
                field=".queue",
                reason="FieldValueRequired",
            ),
            Rule(
                rule="self.provider in ['kueue', 'volcano'] || self.queue == ''",
                message="only kueue and volcano have queues: drop it",
                field=".queue",
                reason="FieldValueForbidden",
            ),
        )
    )

    provider: Provider = Field(
        default="none", description="Scheduler that takes them as a gang; workload is Kubernetes' own PodGroup API"
    )
    queue: LabelValue = Field(default="", description="Kueue's LocalQueue, or Volcano's Queue")


class Disruption(Model):
    """What evictions may do."""

    budget: bool = Field(
        default=False,
        description="Refuse to evict pods of a group that is ready; kubectl drain then waits for someone to move it",
    )


class Scheduling(Model):
    """Which nodes the pods may use, which go together, and who gives way to them."""

    node_selector: NodeSelector = Field(default={}, description="Labels that a node must have")
    gpu_products: Annotated[list[GpuProduct], Field(max_length=32)] = Field(
        default=[], description="GPUs that will do, as nodes name them in nvidia.com/gpu.product; any if empty"
    )
    topology_key: TopologyKey = Field(
        default="", description="Label of nodes, such as a rack's, in which all pods of an attempt must be the same"
    )
    gang: GangScheduling = Field(default=GangScheduling(), description="All pods of an attempt at once, or none")
    disruption: Disruption = Field(default=Disruption(), description="What evictions may do")
    priority_class_name: ObjectName = Field(default="", description="PriorityClass of the pods")
