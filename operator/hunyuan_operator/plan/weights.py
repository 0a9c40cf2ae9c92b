"""How many weights a model has, how many of them a rank holds, and in how many bytes.

A rank of tensor parallel size t holds 1/t of every matrix, except that it holds at least one key and value head, and
the whole of the router and of the norms. A pipeline stage holds whole groups of layers that share keys and values; the
first has the embedding, the last the output head, even where both are one matrix.

Bytes: bf16 two each; int8 one for routed experts, whose output channels have a scale of four; fp8 one for every matrix
but embedding and head, with a scale a tensor, which is not counted. The router is fp32 always.
"""

from dataclasses import dataclass, fields
from typing import Self

from hunyuan_operator.api.architecture import Architecture
from hunyuan_runtime.config import Quantization

VOCABULARY_PADDING = 64
"""The engine rounds the embedding's rows up to a multiple of this."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Numbers of weights by how they are stored and when they are read."""

    dense: int = 0
    """Attention and shared experts, or a plain layer's MLP."""
    routed: int = 0
    """Routed experts."""
    channels: int = 0
    """Output channels of the routed experts' matrices; no weights, but each has a scale under int8."""
    router: int = 0
    norms: int = 0
    embedding: int = 0
    head: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    def times(self, count: int) -> "Weights":
        return Weights(**{each.name: getattr(self, each.name) * count for each in fields(self)})

    @property
    def total(self) -> int:
        return self.dense + self.routed + self.router + self.norms + self.embedding + self.head

    def bytes(self, quantization: Quantization) -> int:
        dense = 1 if quantization == "fp8" else 2
        routed = 2 if quantization == "bf16" else 1
        scales = 4 * self.channels if quantization == "int8" else 0
        return (
            dense * self.dense
            + routed * self.routed
            + scales
            + 4 * self.router
            + 2 * (self.norms + self.embedding + self.head)
        )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One pipeline stage: how many layers, and which end of the model."""

    layers: int
    first: bool
    last: bool


def stages(architecture: Architecture, pipeline: int) -> list[Stage]:
    """Deal groups of layers out as the engine does: evenly, those left over to the stages before the last."""
    group = architecture.kv_group
    each, left = divmod(share(architecture.num_hidden_layers, group), pipeline)
    groups = [each + (pipeline - 1 - left <= index < pipeline - 1) for index in range(pipeline)]
    rest = architecture.num_hidden_layers - group * sum(groups[:-1])
    layers = [group * count for count in groups[:-1]] + [rest]
    return [Stage(layers=count, first=index == 0, last=index == pipeline - 1) for index, count in enumerate(layers)]


def kv_owners(architecture: Architecture, stage: Stage) -> int:
    """Layers of the stage that store keys and values."""
    return share(stage.layers, architecture.kv_group)


def stage_weights(architecture: Architecture, stage: Stage, tensor: int = 1) -> Weights:
    """What one rank of this stage holds."""
    owners = kv_owners(architecture, stage)
    embedding = share(padded_vocabulary(architecture), tensor) * architecture.hidden_size
    tied_here = architecture.tie_word_embeddings and stage.last
    ends = Weights(
        embedding=embedding if stage.first and not tied_here else 0,
        head=embedding if stage.last else 0,
        norms=architecture.hidden_size if stage.last else 0,
    )
    keys_and_values = Weights(
        dense=2 * kv_heads_of_rank(architecture, tensor) * architecture.head_width * architecture.hidden_size
    )
    layer = _attention(architecture, tensor) + _feed_forward(architecture, tensor)
    return layer.times(stage.layers) + keys_and_values.times(owners) + ends


def parameters(architecture: Architecture) -> int:
    return _whole(architecture).total


def active_parameters(architecture: Architecture) -> int:
    """Those that one token uses; the head once, though tied embeddings are looked up as well."""
    whole = _whole(architecture)
    idle = whole.routed - whole.routed * architecture.moe_topk // architecture.num_experts
    return whole.total - idle - whole.embedding


def kv_bytes_per_token(architecture: Architecture, element: int) -> int:
    """Of the whole model, on however many GPUs."""
    [whole] = stages(architecture, 1)
    return 2 * architecture.kv_heads * architecture.head_width * kv_owners(architecture, whole) * element


def kv_heads_of_rank(architecture: Architecture, tensor: int) -> int:
    """Beyond one head a rank, heads are replicated."""
    return max(1, share(architecture.kv_heads, tensor))


def padded_vocabulary(architecture: Architecture) -> int:
    return share(architecture.vocab_size, VOCABULARY_PADDING) * VOCABULARY_PADDING


def share(whole: int, parts: int) -> int:
    """The largest share when ``whole`` is dealt out."""
    return -(-whole // parts)


def _whole(architecture: Architecture) -> Weights:
    [whole] = stages(architecture, 1)
    return stage_weights(architecture, whole)


def _attention(architecture: Architecture, tensor: int) -> Weights:
    """Without keys and values, which not every layer has."""
    width = share(architecture.num_attention_heads, tensor) * architecture.head_width
    gains = 2 * architecture.head_width if architecture.use_qk_norm else 0
    return Weights(dense=2 * width * architecture.hidden_size, norms=2 * architecture.hidden_size + gains)


def _feed_forward(architecture: Architecture, tensor: int) -> Weights:
    hidden, experts = architecture.hidden_size, architecture.num_experts
    width = share(architecture.intermediate_size, tensor)
    if experts == 1:
        return Weights(dense=3 * hidden * width)
    return Weights(
        dense=3 * hidden * share(architecture.intermediate_size * architecture.shared_experts, tensor),
        routed=experts * 3 * hidden * width,
        channels=experts * (2 * width + hidden),
        router=experts * hidden,
    )
