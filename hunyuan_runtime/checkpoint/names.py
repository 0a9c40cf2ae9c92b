"""Fused tensors of a checkpoint → the published ones, which all of this project speaks, and back.

Layouts as the published inference code undoes them:

- ``self_attn.qkv_proj``: for each key head its query heads, then its key head, then its value head.
- ``gate_and_up_proj`` (of an MLP, a shared or a routed expert): the up half first, then the gate half.

A bias or a scale of each row is cut like the rows. A scale of the whole tensor (one number) goes to every part.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from hunyuan_runtime.model import HunYuanConfig

QKV = ".self_attn.qkv_proj."
GATE_AND_UP = ".gate_and_up_proj."


def unfused(weights: Iterable[tuple[str, Tensor]], config: HunYuanConfig) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under its published name; nothing is copied except the query rows of a ``qkv_proj``.

    Raises:
        ValueError: a fused tensor can't be cut; the message names it.

    """
    for name, tensor in weights:
        if QKV in name:
            yield from _cut(name, QKV, ("q", "k", "v"), tensor, config)
        elif GATE_AND_UP in name:
            yield from _cut(name, GATE_AND_UP, ("up", "gate"), tensor, config)
        else:
            yield name, tensor


def _cut(
    name: str, fused: str, parts: tuple[str, ...], tensor: Tensor, config: HunYuanConfig
) -> Iterator[tuple[str, Tensor]]:
    names = [name.replace(fused, f"{fused[: fused.rindex('.', 0, -1)]}.{part}_proj.") for part in parts]
    if tensor.numel() == 1:
        pieces: tuple[Tensor, ...] = (tensor,) * len(parts)
    elif fused == QKV:
        pieces = _cut_heads(name, tensor, config)
    elif tensor.shape[0] % 2:
        raise ValueError(f"{name} has {tensor.shape[0]} rows, which can't be an up and a gate half")
    else:
        pieces = tensor.chunk(2)
    yield from zip(names, pieces, strict=True)


def _cut_heads(name: str, tensor: Tensor, config: HunYuanConfig) -> tuple[Tensor, ...]:
    assert config.num_key_value_heads is not None
    assert config.head_dim is not None
    group = config.num_attention_heads // config.num_key_value_heads
    rows = config.num_key_value_heads * (group + 2) * config.head_dim
    if tensor.shape[0] != rows:
        raise ValueError(
            f"{name} has {tensor.shape[0]} rows; {config.num_attention_heads} query and 2 × "
            f"{config.num_key_value_heads} key and value heads of {config.head_dim} need {rows}"
        )
    heads = tensor.view(config.num_key_value_heads, group + 2, config.head_dim, *tensor.shape[1:])
    return tuple(part.flatten(0, 2) for part in torch.split(heads, [group, 1, 1], dim=1))


def fused(name: str, parts: Sequence[Tensor], config: HunYuanConfig) -> Tensor:
    """The tensor ``name`` of its published parts, in the order in which :func:`unfused` yields them."""
    if QKV in name:
        assert config.num_key_value_heads is not None
        heads = [part.view(config.num_key_value_heads, -1, *part.shape[1:]) for part in parts]
        return torch.cat(heads, dim=1).flatten(0, 1)
    if GATE_AND_UP in name:
        return torch.cat(list(parts))
    (whole,) = parts
    return whole
