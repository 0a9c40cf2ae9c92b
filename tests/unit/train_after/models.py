"""Small bases, trainings of them by plain peft, and the stage's configuration."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from hunyuan_runtime.model import HunYuanForCausalLM
from hunyuan_runtime.train_config import LoraConfig as Lora
from hunyuan_runtime.train_config import TrainConfig, TrainingConfig

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
RANK, ALPHA = 4, 10


def config_of(base: Path, output: Path, **options: Any) -> TrainConfig:
    training = TrainingConfig(max_steps=4, save_steps=2, max_seq_length=64)
    lora = Lora(rank=RANK, alpha=ALPHA, targets=ATTENTION)
    settings: dict[str, Any] = {"method": "lora", "lora": lora, "data_path": "", "gpus_per_node": 2} | options
    return TrainConfig(name="tune", model_path=str(base), output=str(output), nodes=1, training=training, **settings)


def lora_of(base: Path, targets: tuple[str, ...], seed: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trained parameters by their names in peft's model, and the state that peft merges of them in fp32."""
    torch.manual_seed(seed)
    model: Any = HunYuanForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned: Any = get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(targets), task_type="CAUSAL_LM")
    )
    trained = {name: parameter for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    parameters = {name: parameter.detach().clone() for name, parameter in trained.items()}
    return parameters, dict(tuned.merge_and_unload().state_dict())


def full_of(base: Path, part: str = "") -> dict[str, Tensor]:
    """Every parameter whose name has ``part``, moved."""
    torch.manual_seed(2)
    model = HunYuanForCausalLM.from_pretrained(base, dtype=torch.float32)
    return {
        name: parameter.detach() + torch.randn_like(parameter) * 0.1
        for name, parameter in model.named_parameters()
        if part in name
    }
