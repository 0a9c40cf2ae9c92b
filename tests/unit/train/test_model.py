"""The base model with a method of training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.model.modeling import HunYuanTopKGate
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.model import load_model
from hunyuan_runtime.train_config import LoraConfig
from tests.unit.train.configs import config, training


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = HunYuanForCausalLM(
        HunYuanConfig(
            vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            num_experts=2, moe_topk=1, use_mixed_mlp_moe=True,
        )
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    return folder


def trained(base: Path, **changes: Any) -> tuple[Any, set[str]]:
    """The model, and the names of what is trained."""
    plan = config(model_path=str(base), **changes)
    model, _ = load_model(plan, {"zero_optimization": {"stage": 2}})
    return model, {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_full_trains_everything(base: Path) -> None:
    model, names = trained(base, method="full")
    assert names == {name for name, _ in model.named_parameters()}
    assert "model.layers.0.mlp.gate.wg.weight" in names
    assert model.is_gradient_checkpointing


def test_attention_trains_what_attention_consists_of(base: Path) -> None:
    _, names = trained(base, method="attention", training=training(gradient_checkpointing=False))
    assert {name.split(".")[3] for name in names} == {"self_attn"}


def test_lora_trains_an_adapter_on_the_targets_alone(base: Path) -> None:
    model, names = trained(base, lora=LoraConfig(rank=2, targets=("q_proj", "down_proj")))
    assert isinstance(model, PeftModel)
    assert names
    assert all("lora_" in name and ("q_proj" in name or "down_proj" in name) for name in names)
    assert any(".mlp.experts.1.down_proj." in name for name in names)


def test_every_rank_makes_the_same_adapter(base: Path) -> None:
    weights = []
    for state in (1, 2):
        torch.manual_seed(state)
        model, names = trained(base)
        weights.append({name: value.clone() for name, value in model.named_parameters() if name in names})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("method", ["lora", "attention"])
def test_a_router_that_is_not_trained_stays_as_it_is_served(base: Path, method: str) -> None:
    model, _ = trained(base, method=method)
    stored = HunYuanForCausalLM.from_pretrained(base, dtype=torch.float32)
    pairs = zip(gates(model), gates(stored), strict=True)
    assert all(torch.equal(mine.wg.weight, other.wg.weight) for mine, other in pairs)
    assert not any("wg" in name for name, _ in model.named_parameters())
    assert not any("wg" in name for name in model.state_dict()), "a checkpoint holds what is trained alone"


def gates(model: torch.nn.Module) -> list[HunYuanTopKGate]:
    return [module for module in model.modules() if isinstance(module, HunYuanTopKGate)]


def test_a_target_that_the_model_has_not_is_refused_by_name(base: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"lora\.targets x_proj: ") as failure:
        trained(base, lora=LoraConfig(targets=("x_proj",)))
    assert failure.value.cause is Cause.ConfigInvalid
