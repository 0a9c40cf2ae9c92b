"""What the fullest GPU of a group holds.

    usable      = min(gpuMemoryUtilization, 0.98) * memory of a GPU
    weights     = this rank's share (:mod:`hunyuan_operator.plan.weights`)
    activations = 2 B * batched tokens * (4 * hidden + 3 * visited experts * intermediate / t)
                  + 16 B * maxNumSeqs * vocabulary
    reserve     = 4 GiB
    KV cache    = usable - weights - activations - reserve, in blocks of 16 tokens of
                  2 * max(1, KV heads / t) * head width * layers of the stage that store them * bytes an element

Weights and KV bytes a token are exact. Activations and reserve are estimates: the first of the largest tensors that
live at once in a batch, and of the sampler's copies of the logits; the second of what CUDA, NCCL, CUDA graphs and
fragmentation take. The engine measures both when it starts, and is right. With ``kv-cache-memory-bytes`` it takes just
that for the cache, whatever the utilization.
"""

from dataclasses import dataclass
from math import floor

from hunyuan_operator.api.architecture import HUNYUAN_LARGE, Architecture
from hunyuan_operator.api.deployment import Engine, HunyuanDeploymentSpec
from hunyuan_operator.plan.topology import Topology
from hunyuan_operator.plan.weights import (
    Stage,
    kv_heads_of_rank,
    kv_owners,
    padded_vocabulary,
    share,
    stage_weights,
    stages,
)
from hunyuan_runtime.config import Quantization

RESERVE = 4 * 2**30
MOST_USABLE = 0.98
"""The driver's own share is never free, and the engine refuses to start where less is free than it may use."""
BATCHED_TOKENS = 8192
"""The engine's default on large GPUs."""
BLOCK = 16
"""Tokens; the cache is handed out in these."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """All of a spec that decides how much memory is needed, and how much there is."""

    architecture: Architecture
    quantization: Quantization
    max_model_len: int
    max_num_seqs: int
    gpu_memory: int
    utilization: float
    kv_element: int
    """Bytes of a number in the KV cache. ``auto`` counts as two: a checkpoint that asks for FP8 is not seen here."""
    batched_tokens: int = BATCHED_TOKENS
    kv_cache: int | None = None
    """Bytes of the KV cache on each GPU, where the spec fixes them."""
    offloaded: int = 0
    """Bytes of each GPU's weights that stay in the host's memory."""

    @classmethod
    def of(cls, spec: HunyuanDeploymentSpec) -> "Demand":
        engine = spec.engine
        return cls(
            architecture=spec.model.architecture or HUNYUAN_LARGE,
            quantization=spec.quantization,
            max_model_len=spec.max_model_len,
            max_num_seqs=engine.max_num_seqs,
            gpu_memory=spec.gpus.memory_bytes,
            utilization=engine.gpu_memory_utilization,
            kv_element=1 if engine.kv_cache_dtype == "fp8" else 2,
            batched_tokens=_option(engine, "max-num-batched-tokens") or BATCHED_TOKENS,
            kv_cache=_option(engine, "kv-cache-memory-bytes"),
            offloaded=2**30 * (_option(engine, "cpu-offload-gb") or 0),
        )

    @property
    def usable(self) -> int:
        return floor(min(1.0 if self.kv_cache else self.utilization, MOST_USABLE) * self.gpu_memory)


@dataclass(frozen=True, kw_only=True)
class GpuMemory:
    """Bytes on one GPU."""

    usable: int
    weights: int
    activations: int
    reserve: int
    kv_cache: int
    """Zero when there is no room for it."""
    kv_bytes_per_token: int
    max_model_len: int

    @property
    def kv_tokens(self) -> int:
        return self.kv_cache // (self.kv_bytes_per_token * BLOCK) * BLOCK

    @property
    def max_concurrency(self) -> float:
        """Requests of ``max_model_len`` tokens whose keys and values are there at once."""
        return self.kv_tokens / (share(self.max_model_len, BLOCK) * BLOCK)

    @property
    def fits(self) -> bool:
        """The engine's own condition: one request of the greatest length has room."""
        return self.max_concurrency >= 1


def memory_on(demand: Demand, topology: Topology) -> GpuMemory:
    """What a GPU of that stage holds whose cache has the fewest tokens: it decides for all."""
    kinds = dict.fromkeys(stages(demand.architecture, topology.pipeline_parallel))
    each = (_memory_of(demand, stage, topology.tensor_parallel) for stage in kinds)
    return min(each, key=lambda memory: (memory.kv_tokens, memory.kv_cache, -memory.weights))


def _memory_of(demand: Demand, stage: Stage, tensor: int) -> GpuMemory:
    architecture = demand.architecture
    weights = stage_weights(architecture, stage, tensor).bytes(demand.quantization)
    weights = max(0, weights - demand.offloaded)
    activations = _activations(demand, tensor)
    room = max(0, demand.usable - weights - activations - RESERVE)
    wanted = room if demand.kv_cache is None else demand.kv_cache
    heads = kv_heads_of_rank(architecture, tensor)
    return GpuMemory(
        usable=demand.usable,
        weights=weights,
        activations=activations,
        reserve=RESERVE,
        kv_cache=wanted if wanted <= room else 0,
        kv_bytes_per_token=2 * heads * architecture.head_width * kv_owners(architecture, stage) * demand.kv_element,
        max_model_len=demand.max_model_len,
    )


def _activations(demand: Demand, tensor: int) -> int:
    architecture = demand.architecture
    visited = architecture.shared_experts + architecture.moe_topk
    widths = 4 * architecture.hidden_size + 3 * visited * share(architecture.intermediate_size, tensor)
    logits = 16 * demand.max_num_seqs * padded_vocabulary(architecture)
    return 2 * demand.batched_tokens * widths + logits


def _option(engine: Engine, name: str) -> int | None:
    """A whole number among the engine's further options; one that is written in another way is not understood here."""
    value = engine.extra_args.get(name, engine.extra_args.get(name.replace("-", "_")))
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
