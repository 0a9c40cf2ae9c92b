"""One of two ranks under ZeRO-3 (or 2) whose tokens all go to one expert, each rank's to another.

``python skewed_routing.py STAGE`` prints, on rank 0, the loss of each step and which experts' weights have changed.
"""

import os
import sys
from datetime import timedelta
from typing import Any

import deepspeed
import torch
from torch import Tensor
from transformers.integrations import HfDeepSpeedConfig

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.model.modeling import HunYuanTopKGate

EXPERTS = 4
STEPS = 3


def everything_to(expert: int) -> Any:
    def forward(gate: HunYuanTopKGate, rows: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = torch.nn.functional.linear(rows.float(), gate.wg.weight.float()).softmax(dim=-1)
        return torch.full((len(rows), 1), expert), probabilities[:, expert, None]

    return forward


def main() -> None:
    rank, stage = int(os.environ["RANK"]), int(sys.argv[1])
    deepspeed.init_distributed("gloo", timeout=timedelta(seconds=60), verbose=False)
    json = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": stage},
        "bf16": {"enabled": False},
    }
    living = HfDeepSpeedConfig(json)
    torch.manual_seed(0)
    config = HunYuanConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2, use_cla=True,
        cla_share_factor=2, use_qk_norm=True, num_experts=EXPERTS, moe_topk=1, use_mixed_mlp_moe=True,
    )  # fmt: skip
    model = HunYuanForCausalLM(config)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    HunYuanTopKGate.forward = everything_to(rank)  # type: ignore[method-assign]  # the skew that is tested
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=json, dist_init_required=False)
    engine.train()
    before = experts_of(engine)
    ids = torch.arange(16).roll(rank)[None]
    for _ in range(STEPS):
        loss = engine(input_ids=ids, labels=ids, use_cache=False).loss
        engine.backward(loss)
        engine.step()
        torch.distributed.all_reduce(mean := loss.detach().clone())
        if rank == 0:
            print("loss", mean.item())
    changed = [bool((old != new).any()) for old, new in zip(before, experts_of(engine), strict=True)]
    if rank == 0:
        print("changed", *(index for index, one in enumerate(changed) if one), flush=True)
    assert living is not None
    os._exit(0)


def experts_of(engine: Any) -> list[Tensor]:
    experts = engine.module.model.layers[0].mlp.experts
    weights = [expert.up_proj.weight for expert in experts]
    with deepspeed.zero.GatheredParameters(weights):
        return [weight.detach().clone() for weight in weights]


if __name__ == "__main__":
    main()
