"""A small checkpoint, and a loader of FP8 checkpoints that shares nothing with the code that writes them."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    "use_qk_norm": True,
    "use_cla": True,
    "cla_share_factor": 2,
    "num_experts": 4,
    "use_mixed_mlp_moe": True,
    "tie_word_embeddings": True,
    "initializer_range": 0.05,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
PROMPTS = [
    torch.randint(0, 96, (length,), generator=torch.Generator().manual_seed(length)).tolist() for length in (40, 9)
]


def make_source(folder: Path, **changes: Any) -> Path:
    """In BF16, over several shards, with a file that isn't weights."""
    torch.manual_seed(0)
    model = HunYuanForCausalLM(HunYuanConfig(**(SHAPE | changes))).to(torch.bfloat16)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layernorm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder, max_shard_size="60KB")
    (folder / "LICENSE").write_text("terms")
    return folder


def weights_of(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def archived(source: Path, folder: Path) -> Path:
    """The same model in one file of torch.save."""
    folder.mkdir()
    torch.save(weights_of(source), folder / "pytorch_model.bin")
    shutil.copy(source / "config.json", folder)
    return folder


def fused(source: Path, folder: Path) -> Path:
    """The same model with fused tensors, as the published inference code knows them."""
    folder.mkdir()
    weights = weights_of(source)
    for name in list(weights):
        if name.endswith("k_proj.weight"):
            at = name.removesuffix("k_proj.weight")
            width = weights[name].shape[1]
            parts = [weights.pop(f"{at}{part}_proj.weight").view(2, -1, width // 4, width) for part in "qkv"]
            weights[f"{at}qkv_proj.weight"] = torch.cat(parts, dim=1).reshape(-1, width)
        if name.endswith("gate_proj.weight"):
            at = name.removesuffix("gate_proj.weight")
            weights[f"{at}gate_and_up_proj.weight"] = torch.cat(
                [weights.pop(f"{at}{part}_proj.weight") for part in ("up", "gate")]
            )
    save_file(weights, folder / "model.safetensors")
    shutil.copy(source / "config.json", folder)
    return folder


def eight_bit_model(folder: Path) -> HunYuanForCausalLM:
    """The checkpoint in fp32 with the arithmetic that the engine does in FP8: weights, inputs, values."""
    stored = weights_of(folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config")
    model: HunYuanForCausalLM = HunYuanForCausalLM(HunYuanConfig.from_dict(config)).float()
    wide = {}
    for name, tensor in stored.items():
        if name.endswith("_scale"):
            continue
        scale = stored.get(f"{name}_scale", torch.ones(()))
        assert (tensor.dtype == torch.float8_e4m3fn) == (f"{name}_scale" in stored), name
        wide[name] = tensor.float() * scale
    missing, unexpected = model.load_state_dict(wide, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"] if config["tie_word_embeddings"] else [], [])
    model.tie_weights()
    for name, module in model.named_modules():
        if f"{name}.input_scale" in stored:
            module.register_forward_pre_hook(_rounding_input(stored[f"{name}.input_scale"]))
        if name.endswith("v_proj"):
            module.register_forward_hook(_rounding_output(stored[name.replace("v_proj", "v_scale")]))
    model.eval()
    return model


def _through_fp8(x: Tensor, scale: Tensor) -> Tensor:
    return (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale


def _rounding_input(scale: Tensor) -> Any:
    return lambda _module, inputs: (_through_fp8(inputs[0], scale),)


def _rounding_output(scale: Tensor) -> Any:
    return lambda _module, _inputs, out: _through_fp8(out, scale)


def logits_of(model: nn.Module, prompt: list[int]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([prompt]), use_cache=False).logits[0]
    return logits
