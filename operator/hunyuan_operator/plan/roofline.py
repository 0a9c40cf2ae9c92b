"""How fast a layout can be at best: what its GPUs can read and multiply, with nothing else in the way.

One batch is on its way at a time, so its time is the sum over the pipeline's stages; in each, a rank either reads or
multiplies, whichever takes longer, and what ranks tell each other is free:

    seconds  = Σ over stages of max(bytes read / bandwidth, operations / peak)
    decode   = streams / seconds       with, a rank:
               bytes      = dense + router + norms + head + routed * (1 - (1 - k/E) ** streams)
                            + streams * context * KV bytes a token, once for each layer that attends to them
               operations = streams * (2 * (dense + router + head + routed * k/E) + 4 * context * query width * layers)
    prefill  = prompt / seconds        with, a rank:
               bytes      = all weights
               operations = prompt * (2 * (dense + router + routed * k/E) + 4 * prompt/2 * query width * layers)
                            + 2 * head

where k of E experts are visited by a token, as if the router chose evenly and independently.
A bound, not a forecast: engines reach a part of it, the smaller the batch the less.
"""

from dataclasses import dataclass

from hunyuan_operator.plan.memory import Demand
from hunyuan_operator.plan.topology import Topology
from hunyuan_operator.plan.weights import Stage, Weights, kv_heads_of_rank, share, stage_weights, stages


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Bytes and dense operations a second, from the vendor's data sheet."""

    bandwidth: float
    bf16: float
    fp8: float


GPUS = {
    "a100": Gpu(bandwidth=2.039e12, bf16=312e12, fp8=312e12),
    "h20": Gpu(bandwidth=4.0e12, bf16=148e12, fp8=296e12),
    "h100": Gpu(bandwidth=3.35e12, bf16=989e12, fp8=1979e12),
    "h200": Gpu(bandwidth=4.8e12, bf16=989e12, fp8=1979e12),
    "h800": Gpu(bandwidth=3.35e12, bf16=989e12, fp8=1979e12),
}
"""SXM boards of 80 GB (a100, h100, h800), 96 GB (h20) and 141 GB (h200). A100 multiplies FP8 weights as BF16."""


def decode_tokens_per_second(demand: Demand, topology: Topology, gpu: Gpu, *, streams: int, context: int) -> float:
    """Of all streams together, each with ``context`` tokens so far; formula in the module's docstring."""
    visited = demand.architecture.moe_topk / demand.architecture.num_experts
    touched = 1 - (1 - visited) ** streams
    seconds = 0.0
    for stage, held in _ranks(demand, topology):
        read = _bytes_read(demand, held, touched) + streams * context * _kv_bytes(demand, topology, stage)
        work = streams * (2 * held.head + _operations(demand, topology, stage, held, context))
        seconds += max(read / gpu.bandwidth, work / _peak(demand, gpu))
    return streams / seconds


def prefill_tokens_per_second(demand: Demand, topology: Topology, gpu: Gpu, *, prompt: int) -> float:
    """Of one prompt; formula in the module's docstring."""
    seconds = 0.0
    for stage, held in _ranks(demand, topology):
        work = 2 * held.head + prompt * _operations(demand, topology, stage, held, prompt / 2)
        seconds += max(_bytes_read(demand, held, 1.0) / gpu.bandwidth, work / _peak(demand, gpu))
    return prompt / seconds


def _ranks(demand: Demand, topology: Topology) -> list[tuple[Stage, Weights]]:
    """One rank of every stage; the others of it do the same at the same time."""
    architecture = demand.architecture
    return [
        (stage, stage_weights(architecture, stage, topology.tensor_parallel))
        for stage in stages(architecture, topology.pipeline_parallel)
    ]


def _bytes_read(demand: Demand, held: Weights, touched: float) -> float:
    """Of an embedding only the tokens' rows are read."""
    routed = Weights(routed=held.routed, channels=held.channels).bytes(demand.quantization)
    embedding = Weights(embedding=held.embedding).bytes(demand.quantization)
    return held.bytes(demand.quantization) - embedding - (1 - touched) * routed


def _operations(demand: Demand, topology: Topology, stage: Stage, held: Weights, context: float) -> float:
    """Of one token that attends to ``context`` others, but for the head."""
    architecture = demand.architecture
    width = share(architecture.num_attention_heads, topology.tensor_parallel) * architecture.head_width
    multiplied = held.dense + held.router + held.routed * architecture.moe_topk / architecture.num_experts
    return 2 * multiplied + 4 * context * width * stage.layers


def _kv_bytes(demand: Demand, topology: Topology, stage: Stage) -> int:
    """Read for one token of context: layers that share keys and values store them once, but each reads them."""
    architecture = demand.architecture
    heads = kv_heads_of_rank(architecture, topology.tensor_parallel)
    return 2 * heads * architecture.head_width * stage.layers * demand.kv_element


def _peak(demand: Demand, gpu: Gpu) -> float:
    """int8 is of the weights alone: they are multiplied as BF16."""
    return gpu.fp8 if demand.quantization == "fp8" else gpu.bf16
