"""How the ranks of a group split the model, how they are laid out on nodes, and which splits are even.

Ranks are tensor x pipeline; each takes one GPU. Tensor parallelism stays inside a node as far as the node has GPUs,
since it talks after every layer; what is left of the ranks becomes pipeline stages, which talk once a stage.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hunyuan_operator.api.architecture import Architecture
from hunyuan_operator.api.deployment import Parallelism
from hunyuan_operator.errors import InvalidTopology
from hunyuan_operator.plan.weights import kv_heads_of_rank, padded_vocabulary, share
from hunyuan_runtime.config import Quantization

FP8_ALIGNMENT = 16
"""FP8 matrix products on GPUs take sides that are multiples of this."""
MOST_STAGES = 64
"""As many as ``spec.parallelism.pipeline`` may ask for."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """``nodes * gpus_per_node == tensor_parallel * pipeline_parallel``."""

    nodes: int
    gpus_per_node: int
    tensor_parallel: int
    pipeline_parallel: int

    @property
    def ranks(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel


def lay_out(split: Parallelism, per_node: int) -> Topology:
    """Deal the ranks out to nodes.

    Raises:
        InvalidTopology: they don't divide over the nodes.

    """
    ranks = split.tensor * split.pipeline
    gpus = min(ranks, per_node)
    if ranks % gpus:
        fitting = max(size for size in range(1, per_node + 1) if ranks % size == 0)
        raise InvalidTopology(
            f"tensor {split.tensor} x pipeline {split.pipeline} is {ranks} ranks, which don't divide over nodes of "
            f"{per_node} GPUs: set spec.gpus.perNode to {fitting}, or spec.parallelism to a product of "
            f"{ranks // per_node * per_node}"
        )
    return Topology(
        nodes=ranks // gpus, gpus_per_node=gpus, tensor_parallel=split.tensor, pipeline_parallel=split.pipeline
    )


def candidates(per_node: int) -> Iterator[Topology]:
    """Every layout that may be derived, fewest ranks first and then most tensor parallel ones.

    Only powers of two: they divide the model's 80 heads, 8 key and value heads and 16 experts evenly. Of a node of
    another number of GPUs, a pod takes the largest power of two.
    """
    node = 1 << (per_node.bit_length() - 1)
    worlds = [1 << power for power in range((node * MOST_STAGES).bit_length())]
    for ranks in worlds:
        tensor = min(ranks, node)
        while tensor and ranks // tensor <= MOST_STAGES:
            yield lay_out(Parallelism(tensor=tensor, pipeline=ranks // tensor), node)
            tensor //= 2


def unevenness(architecture: Architecture, quantization: Quantization, split: Parallelism) -> str:
    """Why the engine could not split the model so; empty if it can."""
    return next(_objections(architecture, quantization, split), "")


def even_split(architecture: Architecture, quantization: Quantization, ranks: int, per_node: int) -> Parallelism | None:
    """The split over as many ranks that is even and has the most tensor parallel ones inside a node."""
    splits = (
        Parallelism(tensor=tensor, pipeline=ranks // tensor)
        for tensor in range(min(ranks, per_node), 0, -1)
        if ranks % tensor == 0 and ranks // tensor <= MOST_STAGES
    )
    return next((split for split in splits if not unevenness(architecture, quantization, split)), None)


def _objections(architecture: Architecture, quantization: Quantization, split: Parallelism) -> Iterator[str]:
    tensor, pipeline = split.tensor, split.pipeline
    groups = share(architecture.num_hidden_layers, architecture.kv_group)
    if groups < pipeline:
        yield (
            f"{architecture.num_hidden_layers} layers form {groups} groups that share keys and values, too few for "
            f"pipeline {pipeline}"
        )
    sizes = {
        "num_attention_heads": architecture.num_attention_heads,
        "intermediate_size": architecture.intermediate_size,
        "the padded vocab_size": padded_vocabulary(architecture),
    }
    for name, size in sizes.items():
        if size % tensor:
            yield f"{name} {size} doesn't divide over tensor {tensor}"
    kv_heads = architecture.kv_heads
    if kv_heads % tensor and tensor % kv_heads:
        yield f"num_key_value_heads {kv_heads} can be neither divided nor replicated evenly over tensor {tensor}"
    if quantization == "fp8":
        yield from _misalignments(architecture, tensor)


def _misalignments(architecture: Architecture, tensor: int) -> Iterator[str]:
    if architecture.hidden_size % FP8_ALIGNMENT:
        yield (
            f"hidden_size {architecture.hidden_size} is no multiple of {FP8_ALIGNMENT}, as FP8 matrix products need, "
            "on any number of ranks"
        )
    block = architecture.weight_block_size
    sides = {
        "intermediate_size": architecture.intermediate_size // tensor,
        "the query heads' width": architecture.num_attention_heads // tensor * architecture.head_width,
        "the key and value heads' width": kv_heads_of_rank(architecture, tensor) * architecture.head_width,
    }
    for name, side in sides.items():
        if block and side % block:
            yield f"tensor {tensor} leaves {side} of {name} on a rank, which splits the checkpoint's blocks of {block}"
        if side % FP8_ALIGNMENT:
            yield (
                f"tensor {tensor} leaves {side} of {name} on a rank, which is no multiple of {FP8_ALIGNMENT}, as FP8 "
                "matrix products need"
            )
