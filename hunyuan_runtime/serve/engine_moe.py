"""Hunyuan-Large's feed-forward layers in vLLM: the plain one, and shared plus routed experts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import get_current_vllm_config
from vllm.model_executor.layers.activation import SiluAndMul
from vllm.model_executor.layers.fused_moe import FusedMoEFactory
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, ReplicatedLinear, RowParallelLinear

from hunyuan_runtime.model import HunYuanConfig

EXPERTS = {"experts", "gate_proj", "up_proj", "down_proj"}
"""Targets of an adapter that changes experts."""


@contextmanager
def adapters_of_experts() -> Iterator[None]:
    """Experts that no adapter changes are made as if there were no adapters.

    Else vLLM takes kernels that can add to experts' weights: slower ones, and on a CPU there are none.
    """
    engine = get_current_vllm_config()
    lora = engine.lora_config
    if lora is not None and lora.target_modules is not None and not EXPERTS & set(lora.target_modules):
        engine.lora_config = None
    try:
        yield
    finally:
        engine.lora_config = lora


class HunYuanMLP(nn.Module):
    def __init__(
        self, config: HunYuanConfig, width: int, quant_config: Any, prefix: str, *, reduce: bool = True
    ) -> None:
        super().__init__()
        if config.hidden_act != "silu":
            raise ValueError(f"hidden_act {config.hidden_act} is not silu, the only activation of Hunyuan-Large")
        self.gate_up_proj = MergedColumnParallelLinear(
            config.hidden_size, [width] * 2, bias=False, quant_config=quant_config, prefix=f"{prefix}.gate_up_proj"
        )
        self.down_proj = RowParallelLinear(
            width,
            config.hidden_size,
            bias=False,
            quant_config=quant_config,
            reduce_results=reduce,
            prefix=f"{prefix}.down_proj",
        )
        self.act_fn = SiluAndMul()

    def forward(self, x: Tensor) -> Tensor:
        gate_up, _ = self.gate_up_proj(x)
        out: Tensor = self.down_proj(self.act_fn(gate_up))[0]
        return out


class HunYuanMoE(nn.Module):
    """shared_mlp(x) + Σ weight · expert(x), reduced over the ranks once."""

    def __init__(self, config: HunYuanConfig, quant_config: Any, prefix: str) -> None:
        super().__init__()
        # Weight and input in fp32, never quantised: at top-1, bf16 flips the choice of expert.
        self.gate = nn.ModuleDict(
            {
                "wg": ReplicatedLinear(
                    config.hidden_size,
                    config.num_experts,
                    bias=False,
                    params_dtype=torch.float32,
                    prefix=f"{prefix}.gate.wg",
                )
            }
        )
        self.shared_mlp = None
        if config.use_mixed_mlp_moe:
            width = config.intermediate_size * config.num_shared_expert
            self.shared_mlp = HunYuanMLP(config, width, quant_config, f"{prefix}.shared_mlp", reduce=False)
        with adapters_of_experts():
            self.experts = FusedMoEFactory(
                num_experts=config.num_experts,
                top_k=config.moe_topk,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                renormalize=config.moe_topk > 1,
                shared_experts=self.shared_mlp,
                quant_config=quant_config,
                prefix=f"{prefix}.experts",
            )

    def forward(self, x: Tensor) -> Tensor:
        router_logits, _ = self.gate["wg"](x.float())
        out: Tensor = self.experts(hidden_states=x, router_logits=router_logits)
        return out
