"""What bench/train.py measures: each case makes a model and its input, and takes steps. In fp32."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from block_flops import PUBLISHED, BlockShape
from dense_dispatch import DenseDispatchMoE
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.model.modeling import HunYuanMoE
from hunyuan_runtime.train.flops import step_flops, work_of

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Hunyuan-Large's architecture, narrower and with fewer layers."""

    tokens: int
    experts: int
    hidden: int
    layers: int = 4
    vocabulary: int = 8192
    lora_rank: int = 16

    @property
    def intermediate(self) -> int:
        """In the published proportion to the hidden size, and a multiple of 32."""
        return round(self.hidden * PUBLISHED.intermediate / PUBLISHED.hidden / 32) * 32


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Of a step.

    Attributes:
        model: what the mathematics needs; of attention, the pairs of a token with an earlier one.
        formula: what torch's counter should see: all pairs of tokens, and LoRA's own products.
        counted: what it sees, with attention by plain products.
    """

    model: float
    formula: float
    counted: float


class Case(Protocol):
    def step(self) -> None: ...

    def flops(self) -> Flops: ...


class Block:
    """Forward and backward of one mixture of experts."""

    def __init__(self, sizes: Sizes) -> None:
        self.shape = BlockShape(
            tokens=sizes.tokens, hidden=sizes.hidden, intermediate=sizes.intermediate, experts=sizes.experts
        )
        self.module = self._module(HunYuanMoE(_config(sizes)))
        self.x = torch.randn(1, sizes.tokens, sizes.hidden, requires_grad=True)
        self.gradient = torch.randn(1, sizes.tokens, sizes.hidden)

    def _module(self, block: HunYuanMoE) -> nn.Module:
        return block

    def _formula(self) -> int:
        return self.shape.index_dispatch()

    def step(self) -> None:
        self.output_and_gradients()

    def output_and_gradients(self) -> dict[str, Tensor]:
        self.x.grad = None
        self.module.zero_grad()
        out: Tensor = self.module(self.x)
        torch.autograd.backward(out, self.gradient)
        leaves = {"x": self.x, **dict(self.module.named_parameters())}
        return {"output": out.detach(), **{name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}}

    def flops(self) -> Flops:
        formula = self._formula()
        return Flops(model=self.shape.index_dispatch(), formula=formula, counted=_counted(self.step))


class DenseBlock(Block):
    """The same with the original formulation."""

    def _module(self, block: HunYuanMoE) -> nn.Module:
        return DenseDispatchMoE(block)

    def _formula(self) -> int:
        return self.shape.dense_dispatch()


class Training:
    """A step of LoRA with AdamW: forward, backward, update."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        base, self.config = self._base()
        lora = LoraConfig(r=sizes.lora_rank, lora_alpha=2 * sizes.lora_rank, target_modules=LORA_TARGETS)
        self.model: Any = get_peft_model(base, lora).train()
        self.adapters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.adapters, lr=1e-5)
        self.ids = torch.randint(sizes.vocabulary, (1, sizes.tokens))

    def _base(self) -> tuple[nn.Module, HunYuanConfig]:
        """The model, and a configuration that says what a token is multiplied with."""
        config = _config(self.sizes)
        return HunYuanForCausalLM(config), config

    def step(self) -> None:
        self.model(input_ids=self.ids, labels=self.ids, use_cache=False).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def flops(self) -> Flops:
        work, tokens = work_of(self.config), self.sizes.tokens
        adapters = 6 * tokens * sum(parameter.numel() for parameter in self.adapters)
        formula = step_flops(work, tokens, tokens, frozen=True) + adapters
        self.model.set_attn_implementation("eager")
        return Flops(
            model=step_flops(work, tokens, (tokens + 1) / 2, frozen=True), formula=formula, counted=_counted(self.step)
        )


class DenseTraining(Training):
    """Plain transformers and peft, with the same number of parameters for a token: no experts, an MLP twice as wide."""

    def _base(self) -> tuple[nn.Module, HunYuanConfig]:
        wide = {
            "num_experts": 1,
            "use_cla": False,
            "use_qk_norm": False,
            "intermediate_size": 2 * self.sizes.intermediate,
        }
        config = _config(self.sizes, **wide)
        names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        shape = {name: getattr(config, name) for name in (*names, "num_key_value_heads", "tie_word_embeddings")}
        return LlamaForCausalLM(LlamaConfig(**shape)), config


CASES: dict[str, Callable[[Sizes], Case]] = {
    "index dispatch": Block,
    "dense dispatch": DenseBlock,
    "hunyuan": Training,
    "dense model": DenseTraining,
}


def difference(sizes: Sizes) -> dict[str, float]:
    """Between the two formulations, with the same parameters: largest over all entries, relative to the largest entry.

    Returns:
        for the output, the input's gradient, and the parameter's gradient that differs most.
    """
    index, dense = Block(sizes), DenseBlock(sizes)
    dense.module.load_state_dict(index.module.state_dict())
    dense.x, dense.gradient = index.x.detach().clone().requires_grad_(), index.gradient
    found, expected = index.output_and_gradients(), dense.output_and_gradients()
    relative = {name: float((found[name] - value).abs().max() / value.abs().max()) for name, value in expected.items()}
    return {
        "output": relative.pop("output"),
        "input gradient": relative.pop("x"),
        "parameter gradients": max(relative.values()),
    }


def _config(sizes: Sizes, **changes: Any) -> HunYuanConfig:
    heads = max(2, sizes.hidden // 64)
    fields = {
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 4),
        "num_experts": sizes.experts,
        "use_mixed_mlp_moe": True,
        "use_cla": True,
        "cla_share_factor": 2,
        "use_qk_norm": True,
        "tie_word_embeddings": True,
        "pad_token_id": None,
    }
    return HunYuanConfig(**(fields | changes))


def _counted(step: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())
