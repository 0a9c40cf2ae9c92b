"""The base model as it is trained: loaded in shards under ZeRO-3, with an adapter or with parameters frozen."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.integrations import HfDeepSpeedConfig

from hunyuan_runtime.checkpoint.reader import Reader
from hunyuan_runtime.model import HunYuanForCausalLM
from hunyuan_runtime.model.modeling import HunYuanTopKGate
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train_config import TrainConfig

ATTENTION = "self_attn"
"""In the names of what the method ``attention`` trains."""


def load_model(config: TrainConfig, deepspeed: dict[str, Any]) -> tuple[nn.Module, HfDeepSpeedConfig]:
    """The model in training's dtype, and what must live as long as it does.

    With ZeRO-3 transformers reads one file after another and leaves each rank its share of it.

    Raises:
        RuntimeFailure: ``ConfigInvalid``: nothing of the model is what the method trains.

    """
    living = HfDeepSpeedConfig(deepspeed)  # how transformers learns that ZeRO-3 partitions what it loads
    dtype = torch.bfloat16 if config.training.precision == "bf16" else torch.float32
    base = HunYuanForCausalLM.from_pretrained(config.model_path, dtype=dtype)
    base.config.use_cache = False
    if config.training.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    if config.method != "full":
        freeze_routers(base, Reader(Path(config.model_path), base.config))
    return _with_method(base, config), living


def freeze_routers(base: nn.Module, checkpoint: Reader) -> None:
    """Make their weights fp32 buffers, as the checkpoint has them.

    DeepSpeed casts every parameter to training's dtype, and a router that is rounded chooses other experts than the one
    that will be served. Buffers that the model names for fp32 it leaves alone.
    """
    for name, module in base.named_modules():
        if isinstance(module, HunYuanTopKGate):
            weight = checkpoint.get(f"{name}.wg.weight").float().clone()
            del module.wg.weight
            module.wg.register_buffer("weight", weight, persistent=False)


def _with_method(base: nn.Module, config: TrainConfig) -> nn.Module:
    if config.method == "attention":
        for name, parameter in base.named_parameters():
            parameter.requires_grad_(ATTENTION in name)
    if config.method != "lora":
        return base
    lora = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,  # type: ignore[arg-type]  # it divides by the rank, whatever number it is
        lora_dropout=config.lora.dropout,
        target_modules=list(config.lora.targets),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(config.training.seed)  # every rank makes the same adapter
    try:
        adapted: nn.Module = get_peft_model(base, lora, autocast_adapter_dtype=False)
    except ValueError as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"lora.targets {', '.join(config.lora.targets)}: {error}") from error
    return adapted
