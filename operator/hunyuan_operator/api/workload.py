"""What the pods of every kind of resource have in common: network, restarts, image and compute, scheduling."""

from typing import Literal

from pydantic import ConfigDict, Field

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.quantities import parse_quantity
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
    """How often what fails is started again. Preempted, evicted and lost pods are no failures."""

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


class Scheduling(Model):
    """Which nodes the pods may use, and who gives way to them."""

    node_selector: NodeSelector = Field(default={}, description="Labels that a node must have")
    priority_class_name: ObjectName = Field(default="", description="PriorityClass of the pods")
