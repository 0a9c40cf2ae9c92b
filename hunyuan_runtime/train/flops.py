"""Floating-point operations of a training step, and what part of the devices' peak that is."""

from dataclasses import dataclass

from hunyuan_runtime.model.config import HunYuanConfig

PEAKS = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "H20": 148e12, "A100": 312e12, "A800": 312e12}
"""Dense BF16 operations a second by NVIDIA's data sheets (SXM forms), by a part of the device's name; longest first."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations of one token: ``forward`` of its weights, ``attention`` a token of context, both forward alone."""

    forward: float
    attention: float


def work_of(config: HunYuanConfig) -> Work:
    """Two operations a weight that a token meets (not the embedding), four a head dimension of every earlier token.

    Only the experts that are chosen count, and a cross-layer group's keys and values once.
    """
    hidden, head = config.hidden_size, config.head_dim
    assert head is not None
    assert config.num_key_value_heads is not None
    query = 2 * hidden * config.num_attention_heads * head
    keys_and_values = 2 * hidden * config.num_key_value_heads * head / config.kv_group_size
    experts = config.moe_topk if config.num_experts > 1 else 1
    shared = config.num_shared_expert if config.num_experts > 1 and config.use_mixed_mlp_moe else 0
    mlp = 3 * hidden * config.intermediate_size * (experts + shared)
    gate = hidden * config.num_experts if config.num_experts > 1 else 0
    layer = query + keys_and_values + mlp + gate
    weights = config.num_hidden_layers * layer + hidden * config.vocab_size
    return Work(forward=2 * weights, attention=4 * config.num_hidden_layers * config.num_attention_heads * head)


def step_flops(work: Work, tokens: float, context: float, *, frozen: bool) -> float:
    """Of a step over ``tokens``, each with ``context`` earlier ones on average.

    Model FLOPs as PaLM counts them (Chowdhery et al. 2022, appendix B): the backward pass is twice the forward one,
    recomputation isn't counted. Where the weights are ``frozen`` (LoRA) their gradients aren't computed, which halves
    the backward pass of the weights; the adapter's own work is left out.
    """
    weights = work.forward * (2 if frozen else 3)
    return tokens * (weights + 3 * work.attention * context)


def peak_of(device: str) -> float | None:
    """Of a device by its name; None where it isn't known."""
    for name in sorted(PEAKS, key=len, reverse=True):
        if name in device:
            return PEAKS[name]
    return None
