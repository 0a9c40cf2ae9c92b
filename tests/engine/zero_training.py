"""``torchrun zero_training.py BASE OUT STAGE METHOD``: two steps of DeepSpeed on random tokens, and a checkpoint."""

import sys
from datetime import timedelta
from typing import Any

import deepspeed
import torch
from peft import LoraConfig, get_peft_model

from hunyuan_runtime.model import HunYuanForCausalLM
from hunyuan_runtime.model.modeling import HunYuanMoE

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(base: str, out: str, stage: str, method: str) -> None:
    deepspeed.init_distributed("gloo", timeout=timedelta(seconds=60))
    torch.manual_seed(0)
    model: Any = HunYuanForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    if method == "lora":
        model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, task_type="CAUSAL_LM"))
    if stage == "3":
        deepspeed.utils.set_z3_leaf_modules(model, [HunYuanMoE])
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [[parameter for name, parameter in trained if (".experts." in name) == routed] for routed in (True, False)]
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW([{"params": group} for group in groups], lr=1e-2),
        config={
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": int(stage)},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": True},
        },
    )
    engine.train()
    generator = torch.Generator().manual_seed(engine.global_rank)
    for _ in range(2):
        ids = torch.randint(0, 96, (1, 24), generator=generator)
        engine.backward(engine(input_ids=ids, labels=ids, use_cache=False).loss)
        engine.step()
    engine.save_checkpoint(out, tag="step-00000004", save_latest=False, exclude_frozen_parameters=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
