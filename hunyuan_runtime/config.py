"""The contract between operator and runtime: the only module of this package that the operator imports.

The operator writes a :class:`ServeConfig` as JSON into a ConfigMap; every rank of a group mounts it at
:data:`CONFIG_PATH` and reads the same text. What differs between ranks comes by environment (:class:`Rank`).
In the other direction a rank answers ``GET /status`` on :data:`Port.STATUS` with a :class:`RuntimeStatus`, and leaves a
:class:`hunyuan_runtime.termination.TerminationMessage` behind when it ends.

Imports pydantic and the standard library only, so that the operator's image needs neither torch nor Ray.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

CONFIG_PATH = PurePosixPath("/etc/hunyuan/config.json")
MODEL_ROOT = PurePosixPath("/models")
HUB_TOKEN_PATH = PurePosixPath("/var/run/hunyuan/hub-token/token")
RAY_TOKEN_PATH = PurePosixPath("/var/run/hunyuan/ray-token/token")
TERMINATION_LOG = PurePosixPath("/dev/termination-log")

Quantization = Literal["bf16", "int8", "fp8"]


class Port(IntEnum):
    """Every TCP port that a rank listens on at a fixed number."""

    API = 8000
    STATUS = 8001
    PREFLIGHT = 8002
    RAY_GCS = 6379
    RAY_OBJECT_MANAGER = 6380
    RAY_NODE_MANAGER = 6381
    RAY_AGENT_GRPC = 6382
    RAY_RUNTIME_ENV = 6383
    RAY_AGENT_HTTP = 6384
    RAY_METRICS = 6385
    RAY_CLIENT = 6386
    RAY_WORKER_MIN = 6400
    RAY_WORKER_MAX = 6499
    RAY_DASHBOARD = 8265


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkConfig(_Frozen):
    """What carries the traffic between the ranks, and what the preflight asks of it."""

    interface: str = Field(default="auto", description="of each pod; auto is the one that routes to the peers")
    rdma: bool = Field(default=False, description="whether the pods were given RDMA devices")
    min_bits_per_second: int = Field(default=100_000_000, ge=0, description="of every link, in each direction")
    max_latency_ms: int = Field(default=50, ge=1, description="of a round trip, on every link")


class HubSource(_Frozen):
    """Where ``hunyuan_runtime.fetch`` gets a model, and where it puts it."""

    endpoint: str = Field(description="base address of the hub, without a slash at its end")
    repo: str
    revision: str = Field(description="commit or tag")
    folder: str = Field(default="", description="inside the repository; its root if empty")
    cache: str = Field(description="absolute folder in the pod that holds fetched models")

    @property
    def snapshot(self) -> PurePosixPath:
        """The model's folder. It is there when it is complete, and never changes."""
        names = (f"{self.repo}/{self.folder}".rstrip("/"), self.revision)
        return PurePosixPath(self.cache, *(name.replace("/", "--") for name in names))


class ServeConfig(_Frozen):
    """What one group serves and how. World size is ``tensor_parallel * pipeline_parallel == nodes * gpus_per_node``."""

    model_path: str = Field(description="absolute folder of the checkpoint inside the pod")
    hub: HubSource | None = Field(default=None, description="what the init container fetches to model_path, if any")
    served_name: str = Field(description="model name in the OpenAI API")
    quantization: Quantization = "bf16"
    max_model_len: int = Field(ge=1, description="tokens, prompt and answer together")
    nodes: int = Field(ge=1, description="pods of a group, one per node")
    gpus_per_node: int = Field(ge=1)
    tensor_parallel: int = Field(ge=1)
    pipeline_parallel: int = Field(ge=1)
    max_num_seqs: int = Field(ge=1, description="sequences in one batch")
    gpu_memory_utilization: float = Field(ge=0.1, le=1.0)
    kv_cache_dtype: str = "auto"
    extra_args: dict[str, JsonValue] = Field(
        default_factory=dict, description="vLLM's own long option names without the dashes, with their values"
    )
    network: NetworkConfig = NetworkConfig()
    join_timeout_seconds: int = Field(
        default=600, ge=1, description="until every rank has joined Ray; before that, until all are in the preflight"
    )
    start_timeout_seconds: int = Field(default=3600, ge=1, description="until the engine answers")

    @property
    def world_size(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel


class PreflightConfig(BaseModel):
    """What the preflight reads of a group's configuration, of whichever kind that is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    nodes: int = Field(ge=1)
    gpus_per_node: int = Field(ge=1)
    network: NetworkConfig = NetworkConfig()
    join_timeout_seconds: int = Field(ge=1)


class FetchConfig(BaseModel):
    """What the fetch reads of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hub: HubSource | None = None


class Rank(_Frozen):
    """What one pod of a group is told by its environment."""

    index: int = Field(ge=0, description="0 is the leader")
    leader: str = Field(min_length=1, description="host name of rank 0; resolves before that pod is ready")
    pod_ip: str
    peers: tuple[str, ...] = Field(default=(), description="host names of all ranks, this one's too, by rank")
    node: str = Field(default="", description="what the pod runs on, for messages")

    @property
    def pod(self) -> str:
        """This rank's name in messages."""
        return self.pod_of(self.index)

    def pod_of(self, index: int) -> str:
        """Any rank's name in messages."""
        return self.peers[index].partition(".")[0] if index < len(self.peers) else f"rank {index}"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Rank":
        """Read ``HUNYUAN_RANK``, ``_LEADER`` and ``_POD_IP``, and what there is of ``_PEERS`` and ``_NODE``.

        Raises:
            KeyError: a variable is missing.
            ValueError: a value can't be parsed (pydantic's ValidationError is one).

        """
        return cls(
            index=int(env["HUNYUAN_RANK"]),
            leader=env["HUNYUAN_LEADER"],
            pod_ip=env["HUNYUAN_POD_IP"],
            peers=tuple(filter(None, env.get("HUNYUAN_PEERS", "").split(","))),
            node=env.get("HUNYUAN_NODE", ""),
        )


class Phase(StrEnum):
    """How far a rank has come. The leader passes all in this order; a worker stops at ``JOINED``.

    ``FETCHING`` is the init container's, where the model comes from a hub.
    """

    FETCHING = "Fetching"
    STARTING = "Starting"
    JOINED = "Joined"
    LOADING = "Loading"
    SERVING = "Serving"


class Progress(_Frozen):
    """How far the phase's long work is: bytes fetched, or bytes of the checkpoint passed by the slowest rank."""

    done_bytes: int = Field(ge=0)
    total_bytes: int = Field(ge=0)
    remaining_seconds: int | None = Field(default=None, ge=0, description="at the pace of the last two minutes")


class RuntimeStatus(_Frozen):
    """Body of ``GET /status``."""

    phase: Phase
    ranks_joined: int = Field(default=0, ge=0, description="ranks in Ray, as the leader sees them; 0 on workers")
    progress: Progress | None = Field(default=None, description="while it fetches or loads, as soon as it is known")
    failed_rank: int | None = Field(
        default=None, description="rank whose fault it is that the group ends, as the leader found; it ends first"
    )
    failed_pid: int = Field(default=0, description="process of that rank, in its own pod; 0 if none in particular")
    failed_cause: str = Field(default="", description="name of the Cause with which that rank ends")
    suspect: str = Field(
        default="", description="what would explain that the engine stands still: a process of this rank is stopped"
    )
    message: str = ""


class NetworkReport(_Frozen):
    """What the leader's preflight leaves as its termination message when every link is well."""

    interface: str = Field(description="of the leader")
    links: int = Field(ge=0, description="pairs of pods, each measured in both directions")
    bits_per_second: int = Field(ge=0, description="of the slowest direction")
    slowest: str = Field(default="", description="which that is")
    latency_ms: float = Field(ge=0, description="of a round trip on the slowest link")
    rdma: tuple[str, ...] = Field(default=(), description="the leader's RDMA devices")
    all_reduce_bits_per_second: int = Field(default=0, ge=0, description="bus bandwidth over all GPUs; 0 without GPUs")

    @classmethod
    def parse(cls, text: str) -> "NetworkReport | None":
        """None when the text is something else."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None
