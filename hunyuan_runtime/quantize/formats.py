"""What is quantised, which tensors share a scale, and how config.json says so. Pure.

Tensors that the engine fuses get one scale: it would otherwise bring all parts to the largest one by quantising them a
second time. For inputs that goes further: all routed experts of a layer read with one scale.
"""

import re
from enum import StrEnum
from typing import Any

from hunyuan_runtime.model import HunYuanConfig

_LINEAR = re.compile(r"^model\.layers\.\d+\..*\.(q|k|v|o|gate|up|down)_proj\.weight$")
_SCHEME = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}


class Format(StrEnum):
    """Both hold the same tensors; config.json differs."""

    AUTOFP8 = "autofp8"
    COMPRESSED_TENSORS = "compressed-tensors"


def is_quantised(tensor: str) -> bool:
    """The linear layers, except router and output head."""
    return _LINEAR.match(tensor) is not None


def weight_group(module: str) -> str:
    """Modules of the same name here have one weight scale."""
    return re.sub(r"\.(gate|up)_proj$", ".gate_up", re.sub(r"\.[qkv]_proj$", ".qkv", module))


def input_group(module: str) -> str:
    """Modules of the same name here have one input scale."""
    return re.sub(r"\.experts\.\d+\.", ".experts.", weight_group(module))


def quantization_config(kind: Format, config: HunYuanConfig) -> dict[str, Any]:
    routers = [f"model.layers.{layer}.mlp.gate.wg" for layer in range(config.num_hidden_layers)]
    ignored = ["lm_head", *(routers if config.num_experts > 1 else [])]
    if kind is Format.AUTOFP8:
        return {
            "quant_method": "fp8",
            "activation_scheme": "static",
            "kv_cache_scheme": "static",
            "ignored_layers": ignored,
        }
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": _SCHEME, "input_activations": _SCHEME}},
        "ignore": ignored,
        "kv_cache_scheme": _SCHEME,
    }
