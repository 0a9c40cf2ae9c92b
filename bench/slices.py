"""A slice of Hunyuan-Large: as many layers of its real size as one GPU holds, and what they say about all 64.

A layer has 6.06 billion parameters (12.1 GB in BF16), of which a token visits 0.79 billion, however many layers there
are. So a slice does to a GPU's memory, matrix units and launch queue what those layers of the whole model would. It
leaves out the talk between ranks, and that a rank of eight has an eighth of every matrix.
"""

import re
from dataclasses import dataclass
from typing import Any

from hunyuan_operator.api.architecture import HUNYUAN_LARGE, Architecture
from hunyuan_operator.api.deployment import HunyuanDeploymentSpec
from hunyuan_operator.plan.memory import Demand, GpuMemory, memory_on
from hunyuan_operator.plan.roofline import GPUS, Gpu, decode_tokens_per_second, prefill_tokens_per_second
from hunyuan_operator.plan.serving import plan_serving
from hunyuan_operator.plan.topology import Topology

from hunyuan_runtime.config import Quantization

BATCHES = (1, 4, 8)
ONE = Topology(nodes=1, gpus_per_node=1, tensor_parallel=1, pipeline_parallel=1)
UTILIZATION = 0.92
MOST_LAYERS = 10
TINY = Architecture(
    num_hidden_layers=4,
    hidden_size=160,
    intermediate_size=128,
    vocab_size=512,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_experts=4,
    use_mixed_mlp_moe=True,
    use_cla=True,
    cla_share_factor=2,
    use_qk_norm=True,
    tie_word_embeddings=True,
)
"""Stands for the slice on a CPU, which shows that everything works, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What an engine is asked for."""

    prompt: int
    """Tokens of each prompt."""
    answer: int
    """Tokens of each answer after the first one, which the prompt's pass gives."""
    cache_bytes: int
    """Of keys and values; more than the largest batch needs."""

    @property
    def max_model_len(self) -> int:
        return self.prompt + self.answer + 16


REAL_LOAD = Load(prompt=2048, answer=128, cache_bytes=2**30)
TINY_LOAD = Load(prompt=64, answer=8, cache_bytes=2**24)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens a second of all streams together."""

    batch: int
    decode: float
    prefill: float


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A measured speed beside the planner's bound for the slice, and what that share of the bound is with 64 layers."""

    decode_roofline: float
    decode_ratio: float
    prefill_roofline: float
    prefill_ratio: float
    whole_gpus: int
    whole_decode: float
    """Of the whole model on so many GPUs, if it comes as close to its bound as the slice does to its own."""


def slice_of(layers: int, *, shared: bool = True) -> Architecture:
    """Hunyuan-Large with fewer layers, which share keys and values by twos or not at all."""
    return HUNYUAN_LARGE.model_copy(update={"num_hidden_layers": layers, "use_cla": shared})


def demand_of(architecture: Architecture, quantization: Quantization, load: Load, gpu_memory: int) -> Demand:
    return Demand(
        architecture=architecture,
        quantization=quantization,
        max_model_len=load.max_model_len,
        max_num_seqs=max(BATCHES),
        gpu_memory=gpu_memory,
        utilization=UTILIZATION,
        kv_element=2,
        batched_tokens=max(BATCHES) * load.prompt,
    )


def layers_on(quantization: Quantization, gpu_memory: int) -> int:
    """The most layers that fit, a multiple of two; more than ten would only take longer.

    To quantise while it loads, the engine collects a layer in BF16 and copies it before it makes it smaller.
    """

    def memory(layers: int, quantization: Quantization) -> GpuMemory:
        return memory_on(demand_of(slice_of(layers), quantization, REAL_LOAD, gpu_memory), ONE)

    two_layers = memory(4, "bf16").weights - memory(2, "bf16").weights
    spare = REAL_LOAD.cache_bytes + (0 if quantization == "bf16" else two_layers)
    for layers in range(MOST_LAYERS, 0, -2):
        if memory(layers, quantization).kv_cache >= spare:
            return layers
    raise ValueError(f"a GPU of {gpu_memory / 1e9:.0f} GB holds no two layers in {quantization}")


def gpu_of(device_name: str) -> str:
    """The planner's name for a board.

    Raises:
        ValueError: it knows no bandwidth and no operations of such a board.

    """
    found = re.search(rf"\b({'|'.join(GPUS)})\b", device_name.lower())
    if found is None:
        raise ValueError(
            f"{device_name} has no row in hunyuan_operator.plan.roofline.GPUS ({', '.join(GPUS)}); add one"
        )
    return found[1]


def bound(speed: Speed, demand: Demand, load: Load, gpu: Gpu) -> Bound:
    context = load.prompt + load.answer // 2
    decode = decode_tokens_per_second(demand, ONE, gpu, streams=speed.batch, context=context)
    prefill = prefill_tokens_per_second(demand, ONE, gpu, prompt=load.prompt)
    whole_demand, topology = _whole(demand)
    whole = decode_tokens_per_second(whole_demand, topology, gpu, streams=speed.batch, context=context)
    return Bound(
        decode_roofline=decode,
        decode_ratio=speed.decode / decode,
        prefill_roofline=prefill,
        prefill_ratio=speed.prefill / prefill,
        whole_gpus=topology.ranks,
        whole_decode=speed.decode / decode * whole,
    )


def _whole(demand: Demand) -> tuple[Demand, Topology]:
    """As the operator lays out the whole model over nodes of eight such GPUs."""
    spec = HunyuanDeploymentSpec.model_validate(
        {
            "model": {"pvc": {"claimName": "models"}},
            "quantization": demand.quantization,
            "gpus": {"perNode": 8, "memory": demand.gpu_memory},
        }
    )
    return Demand.of(spec), plan_serving(spec).topology


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two engines over the same texts."""

    top_1: float
    """Part of the places at which both hold the same next token for the likeliest."""
    moved: float
    """How far the log-probability of a text's own next token moves, on average."""

    LEAST_TOP_1 = 0.7
    MOST_MOVED = 0.3

    @property
    def holds(self) -> bool:
        return self.top_1 >= self.LEAST_TOP_1 and self.moved <= self.MOST_MOVED


def agreement(one: dict[str, Any], other: dict[str, Any]) -> Agreement:
    """Of two engines' ``likeliest`` tokens and ``logprobs``, place by place."""
    pairs = list(zip(one["likeliest"], other["likeliest"], strict=True))
    moves = [abs(a - b) for a, b in zip(one["logprobs"], other["logprobs"], strict=True)]
    return Agreement(top_1=sum(a == b for a, b in pairs) / len(pairs), moved=sum(moves) / len(moves))
