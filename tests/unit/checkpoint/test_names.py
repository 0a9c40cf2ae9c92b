"""Fused tensors are cut as the published inference code cuts them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hunyuan_runtime.checkpoint.names import unfused
from hunyuan_runtime.model import HunYuanConfig

SHAPE: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}
HEAD = 4
QKV = "model.layers.0.self_attn.qkv_proj."


def cut(name: str, tensor: Tensor) -> dict[str, Tensor]:
    return dict(unfused([(name, tensor)], HunYuanConfig(**SHAPE)))


def heads(*names: str) -> Tensor:
    """Rows that say of which head they are: each name's code, as often as a head has rows."""
    return torch.tensor([float(hash_of(name)) for name in names for _ in range(HEAD)])[:, None].expand(-1, 24)


def hash_of(name: str) -> int:
    return {"q": 100, "k": 200, "v": 300}[name[0]] + int(name[1:])


def test_each_key_head_comes_after_its_query_heads_and_before_its_value_head() -> None:
    fused = heads("q0", "q1", "q2", "k0", "v0", "q3", "q4", "q5", "k1", "v1")
    parts = cut(f"{QKV}weight", fused)
    assert list(parts) == [f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"]
    q, k, v = parts.values()
    assert torch.equal(q, heads("q0", "q1", "q2", "q3", "q4", "q5"))
    assert torch.equal(k, heads("k0", "k1"))
    assert torch.equal(v, heads("v0", "v1"))


@pytest.mark.parametrize("owner", ["mlp", "mlp.shared_mlp", "mlp.experts.3"])
def test_the_up_half_comes_before_the_gate_half(owner: str) -> None:
    fused = torch.arange(8.0)[:, None].expand(8, 24)
    parts = cut(f"model.layers.1.{owner}.gate_and_up_proj.weight", fused)
    assert torch.equal(parts[f"model.layers.1.{owner}.up_proj.weight"], fused[:4])
    assert torch.equal(parts[f"model.layers.1.{owner}.gate_proj.weight"], fused[4:])


def test_a_scale_of_the_whole_tensor_goes_to_every_part() -> None:
    for shape in ((), (1,)):
        assert [scale.item() for scale in cut(f"{QKV}input_scale", torch.full(shape, 0.5)).values()] == [0.5] * 3


def test_a_bias_is_cut_like_the_rows() -> None:
    fused = torch.arange(40.0)
    q, k, v = cut(f"{QKV}bias", fused).values()
    assert k.tolist() == [*range(12, 16), *range(32, 36)]
    assert v.tolist() == [*range(16, 20), *range(36, 40)]
    assert len(q) == 24


@pytest.mark.parametrize(
    ("name", "rows", "why"),
    [
        (f"{QKV}weight", 39, r"qkv_proj\.weight has 39 rows; 6 query and 2 × 2 key and value heads of 4 need 40"),
        ("model.layers.0.mlp.gate_and_up_proj.weight", 7, r"gate_and_up_proj\.weight has 7 rows"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(name: str, rows: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        cut(name, torch.zeros(rows, 24))


def test_other_tensors_pass() -> None:
    weight = torch.zeros(1)
    assert cut("model.norm.weight", weight) == {"model.norm.weight": weight}
