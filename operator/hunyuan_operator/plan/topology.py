"""How many pods a group has and how its ranks split the model.

Ranks are tensor x pipeline; each takes one GPU. Unless the spec says otherwise the number of ranks is the smallest that
Tencent runs the model on with GPUs of 96 GB: 16 for bf16, 8 for int8 and fp8 (the model card's tables for 16 and 8
H20). Weights, KV cache and other sizes of memory are not computed here.

Tensor parallelism stays inside a node as far as the node has GPUs, since it talks after every layer; what is left of
the ranks becomes pipeline stages, which talk once a stage.
"""

from dataclasses import dataclass

from hunyuan_operator.api.deployment import Gpus, HunyuanDeploymentSpec, Parallelism
from hunyuan_operator.errors import InvalidTopology
from hunyuan_runtime.config import Quantization

_SMALLEST_WORLD: dict[Quantization, int] = {"bf16": 16, "int8": 8, "fp8": 8}


@dataclass(frozen=True, kw_only=True)
class Topology:
    """``nodes * gpus_per_node == tensor_parallel * pipeline_parallel``."""

    nodes: int
    gpus_per_node: int
    tensor_parallel: int
    pipeline_parallel: int


def plan_topology(spec: HunyuanDeploymentSpec) -> Topology:
    """Lay the ranks out on nodes.

    Raises:
        InvalidTopology: the ranks don't divide over the nodes.

    """
    split = spec.parallelism or _derive(spec.quantization, spec.gpus)
    ranks = split.tensor * split.pipeline
    per_node = min(ranks, spec.gpus.per_node)
    if ranks % per_node:
        raise InvalidTopology(_way_out(split, spec.gpus))
    return Topology(
        nodes=ranks // per_node,
        gpus_per_node=per_node,
        tensor_parallel=split.tensor,
        pipeline_parallel=split.pipeline,
    )


def _derive(quantization: Quantization, gpus: Gpus) -> Parallelism:
    """Only powers of two divide the model's 80 heads and 16 experts evenly for every number of ranks up to 16."""
    world = _SMALLEST_WORLD[quantization]
    tensor = 1 << (min(gpus.per_node, world).bit_length() - 1)
    return Parallelism(tensor=tensor, pipeline=world // tensor)


def _way_out(split: Parallelism, gpus: Gpus) -> str:
    ranks = split.tensor * split.pipeline
    fitting = max(size for size in range(1, gpus.per_node + 1) if ranks % size == 0)
    multiple = ranks // gpus.per_node * gpus.per_node
    return (
        f"tensor {split.tensor} x pipeline {split.pipeline} is {ranks} ranks, which don't divide over nodes of "
        f"{gpus.per_node} GPUs: set spec.gpus.perNode to {fitting}, or spec.parallelism to a product of {multiple}"
    )
