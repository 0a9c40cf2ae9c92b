"""The model against an independent formulation: loops over tokens and heads, as the description reads."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM

BASE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    "use_qk_norm": True,
    "use_cla": True,
    "cla_share_factor": 2,
    "num_experts": 4,
    "moe_topk": 1,
    "use_mixed_mlp_moe": True,
    "num_shared_expert": 1,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
    "pad_token_id": None,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "no cross-layer attention": {"use_cla": False},
    "groups of four layers": {"cla_share_factor": 4},
    "six layers, own output head": {"num_hidden_layers": 6, "tie_word_embeddings": False},
    "one query head a key head": {"num_key_value_heads": 4},
    "no norm on queries and keys": {"use_qk_norm": False},
    "two experts a token": {"moe_topk": 2},
    "two shared experts": {"num_shared_expert": 2},
    "no shared expert": {"use_mixed_mlp_moe": False},
    "dense": {"num_experts": 1},
    "long rope": {"rope_scaling": {"type": "dynamic", "alpha": 100000.0, "factor": 1.0}},
    "plain rope": {"rope_scaling": None},
    "biases": {"attention_bias": True},
}


def build(changes: dict[str, Any]) -> HunYuanForCausalLM:
    torch.manual_seed(0)
    model: HunYuanForCausalLM = HunYuanForCausalLM(HunYuanConfig(**(BASE | changes))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layernorm" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def reference_logits(weights: dict[str, Tensor], changes: dict[str, Any], ids: list[int]) -> Tensor:
    c = BASE | changes
    heads, kv_heads, dim = (
        c["num_attention_heads"],
        c["num_key_value_heads"],
        c["hidden_size"] // c["num_attention_heads"],
    )

    def linear(name: str, x: Tensor) -> Tensor:
        return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", torch.zeros(()))

    def norm(name: str, x: Tensor) -> Tensor:
        return weights[f"{name}.weight"] * x / torch.sqrt((x * x).mean() + 1e-5)

    def rope(x: Tensor, position: int) -> Tensor:
        base = c["rope_theta"]
        if c["rope_scaling"]:
            base *= c["rope_scaling"]["alpha"] ** (dim / (dim - 2))
        out = torch.empty(dim)
        for i in range(dim // 2):
            angle = position * base ** (-2 * i / dim)
            a, b = x[i], x[i + dim // 2]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + dim // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    def mlp(name: str, x: Tensor) -> Tensor:
        gate = linear(f"{name}.gate_proj", x)
        return linear(f"{name}.down_proj", gate * torch.sigmoid(gate) * linear(f"{name}.up_proj", x))

    def feed_forward(name: str, x: Tensor) -> Tensor:
        if c["num_experts"] == 1:
            return mlp(name, x)
        probabilities = torch.softmax(weights[f"{name}.gate.wg.weight"] @ x, 0)
        best = sorted(range(c["num_experts"]), key=lambda e: -probabilities[e])[: c["moe_topk"]]
        total = sum(probabilities[e] for e in best) if c["moe_topk"] > 1 else 1.0
        out = torch.stack([probabilities[e] / total * mlp(f"{name}.experts.{e}", x) for e in best]).sum(0)
        return out + mlp(f"{name}.shared_mlp", x) if c["use_mixed_mlp_moe"] else out

    share = c["cla_share_factor"] if c["use_cla"] else 1
    xs = [weights["model.embed_tokens.weight"][i] for i in ids]
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        normed = [norm(f"{at}.input_layernorm", x) for x in xs]
        if layer % share == 0:
            keys = [linear(f"{at}.self_attn.k_proj", x).view(kv_heads, dim) for x in normed]
            values = [linear(f"{at}.self_attn.v_proj", x).view(kv_heads, dim) for x in normed]
        for t, x in enumerate(normed):
            queries = linear(f"{at}.self_attn.q_proj", x).view(heads, dim)
            parts = []
            for h in range(heads):
                kv = h * kv_heads // heads
                q, ks = rope(queries[h], t), [rope(keys[s][kv], s) for s in range(t + 1)]
                if c["use_qk_norm"]:
                    q = norm(f"{at}.self_attn.query_layernorm", q)
                    ks = [norm(f"{at}.self_attn.key_layernorm", k) for k in ks]
                p = torch.softmax(torch.stack([q @ k for k in ks]) / math.sqrt(dim), 0)
                parts.append(torch.stack([p[s] * values[s][kv] for s in range(t + 1)]).sum(0))
            xs[t] = xs[t] + linear(f"{at}.self_attn.o_proj", torch.cat(parts))
        xs = [x + feed_forward(f"{at}.mlp", norm(f"{at}.post_attention_layernorm", x)) for x in xs]
    head = "model.embed_tokens" if c["tie_word_embeddings"] else "lm_head"
    return torch.stack([weights[f"{head}.weight"] @ norm("model.norm", x) for x in xs])


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_computes_what_the_description_says(changes: dict[str, Any]) -> None:
    model = build(changes)
    ids = [5, 17, 3, 88, 42, 17, 9]
    with torch.no_grad():
        expected = reference_logits(model.state_dict(), changes, ids)
        torch.testing.assert_close(model(torch.tensor([ids])).logits[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_saving_and_loading_changes_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    model = build(changes)
    model.save_pretrained(tmp_path)
    again = HunYuanForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.randint(0, 97, (2, 12))
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, again(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_under_checkpointing_are_those_without(reentrant: bool) -> None:
    ids = torch.randint(0, 97, (2, 16))

    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        model = build({}).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model(ids, labels=ids).loss.backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_the_cache_and_left_padding_change_no_token() -> None:
    model = build({})
    prompt = torch.tensor([[5, 17, 3, 88, 42, 17, 9, 1]])
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), prompt), dim=1)
    mask = (torch.arange(11) >= 3).long()[None]
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}

    cached = model.generate(prompt, **options)
    assert torch.equal(cached, model.generate(prompt, use_cache=False, **options))
    assert torch.equal(cached[:, 8:], model.generate(padded, attention_mask=mask, pad_token_id=0, **options)[:, 11:])


def test_in_bf16_the_router_stays_fp32(tmp_path: Path) -> None:
    build({}).save_pretrained(tmp_path)
    model = HunYuanForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    assert {d for name, d in dtypes.items() if name.endswith("wg.weight")} == {torch.float32}
    assert {d for name, d in dtypes.items() if not name.endswith("wg.weight")} == {torch.bfloat16}
    model(torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_attention_heads": 5}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"moe_topk": 5}, "moe_topk"),
        ({"moe_topk": [1, 2]}, "moe_topk"),
        ({"cla_share_factor": 0}, "cla_share_factor"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        HunYuanConfig(**(BASE | changes))
