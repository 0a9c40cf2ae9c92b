"""From the tensors of a checkpoint to those of the engine: nothing missing, nothing ignored unseen.

The reference model, built without memory, says which tensors there are and of which shape. A quantised checkpoint adds
scales and may store weights under other names and in other shapes; of it every module must be there, and vLLM's loader
refuses what it doesn't know. Imports no vLLM.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from hunyuan_runtime.checkpoint.names import unfused
from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM

NAMED = 5
"""So many tensors are named in an error; the others are counted."""
FP8 = {torch.float8_e4m3fn, torch.float8_e5m2}


def expected_tensors(config: HunYuanConfig) -> dict[str, torch.Size]:
    """Names and shapes in a checkpoint of this shape, from the reference model."""
    with torch.device("meta"):
        reference = HunYuanForCausalLM(config)
    shapes = {name: tensor.shape for name, tensor in reference.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    return shapes


def checked(weights: Iterable[tuple[str, Tensor]], config: HunYuanConfig) -> Iterator[tuple[str, Tensor]]:
    """Hand on what belongs to the model, under its published names.

    Raises:
        ValueError: when the offending tensor comes by, or at the end for those that never came.

    """
    expected = expected_tensors(config)
    quantised = quantization_of(config)
    names = {module_of(name) for name in expected} if quantised else set(expected)
    seen: set[str] = set()
    eight_bits: set[str] = set()
    for name, tensor in unfused(weights, config):
        if name.endswith("rotary_emb.inv_freq") or (config.tie_word_embeddings and name.startswith("lm_head.")):
            continue  # old checkpoints hold these copies of what the configuration or the embedding says
        if not quantised or name in expected:
            check_tensor(name, tensor, expected)
        if name in seen:
            raise ValueError(f"two files of the checkpoint hold {name}")
        seen |= {name, module_of(name)} if quantised else {name}
        if tensor.dtype in FP8:
            eight_bits.add(module_of(name))
        yield name, tensor
    _complain(names - seen)
    if eight_bits and not quantised:
        raise ValueError(f"{min(eight_bits)}.weight is FP8, but config.json has no quantization_config")
    _complain(missing_scales(eight_bits, seen, quantised))


def quantization_of(config: HunYuanConfig) -> dict[str, Any]:
    return getattr(config, "quantization_config", None) or {}


def missing_scales(modules: set[str], seen: set[str], quantization: dict[str, Any]) -> set[str]:
    """Scales that FP8 weights need: the engine would go on with an uninitialised one."""
    static = quantization.get("activation_scheme") == "static"
    missing = {f"{module}.input_scale" for module in modules if static} - seen
    return missing | {
        f"{module}.weight_scale"
        for module in modules
        if not seen & {f"{module}.weight_scale", f"{module}.weight_scale_inv"}
    }


def _complain(missing: set[str]) -> None:
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise ValueError(f"the checkpoint lacks {', '.join(sorted(missing)[:NAMED])}{more}")


def check_tensor(name: str, tensor: Tensor, expected: dict[str, torch.Size]) -> None:
    if name not in expected:
        raise ValueError(f"the checkpoint holds {name}, which a model of this config.json doesn't have")
    if tensor.shape != expected[name]:
        raise ValueError(
            f"{name} has shape {list(tensor.shape)} in the checkpoint; config.json asks for {list(expected[name])}"
        )


def layer_of(tensor: str) -> int:
    found = re.search(r"\.layers\.(\d+)\.", tensor)
    if found is None:
        raise ValueError(f"{tensor} is a scale of keys or values outside of any layer")
    return int(found[1])


def module_of(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def share_kv_scales(weights: Iterable[tuple[str, Tensor]], config: HunYuanConfig) -> Iterator[tuple[str, Tensor]]:
    """Give every layer of a group the scales of the layer that owns the cache: it is written once and read by all.

    Stored key scales were measured on keys with gain. The cache holds keys of unit RMS, at most √head_dim in size: they
    fit FP8 as they are.
    """
    for name, tensor in weights:
        if not name.endswith(("kv_scale", "k_scale", "v_scale", "k_proj.output_scale", "v_proj.output_scale")):
            yield name, tensor
            continue
        owner = layer_of(name)
        if owner % config.kv_group_size:
            continue
        for scale, value in split_scale(name, tensor, unit_keys=config.use_qk_norm):
            for layer in range(owner, min(owner + config.kv_group_size, config.num_hidden_layers)):
                yield scale.replace(f".layers.{owner}.", f".layers.{layer}."), value


def split_scale(name: str, scale: Tensor, *, unit_keys: bool) -> Iterator[tuple[str, Tensor]]:
    """Name and value as the attention layer takes them, from any of the names that FP8 checkpoints use.

    The engine wants both scales or none. Where keys have unit RMS their scale comes along with the values' one.
    """
    attention = name[: name.index(".self_attn.")] + ".self_attn.attn"
    keys = not name.endswith(("v_scale", "v_proj.output_scale")) or name.endswith("kv_scale")
    values = not name.endswith(("k_scale", "k_proj.output_scale"))
    if unit_keys:
        if values:
            yield f"{attention}.k_scale", torch.ones_like(scale)
    elif keys:
        yield f"{attention}.k_scale", scale
    if values:
        yield f"{attention}.v_scale", scale


def fused_names(config: HunYuanConfig) -> dict[str, tuple[str, str | int]]:
    """Published part of a name → the engine's and the shard in it; a layer that owns no keys keeps its lone q_proj."""
    fused: dict[str, tuple[str, str | int]] = {
        f".layers.{layer}.self_attn.{part}_proj": (f".layers.{layer}.self_attn.qkv_proj", part)
        for layer in range(0, config.num_hidden_layers, config.kv_group_size)
        for part in "qkv"
    }
    for mlp in ("mlp", "shared_mlp"):
        for shard, part in enumerate(("gate_proj", "up_proj")):
            fused[f".{mlp}.{part}"] = (f".{mlp}.gate_up_proj", shard)
    return fused
