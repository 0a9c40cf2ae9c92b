"""From a checkpoint's tensors to the engine's: all of them, of the right shape, under the right names."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.serve.engine_weights import checked, fused_names, share_kv_scales

SHAPE: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "use_qk_norm": True,
    "use_cla": True,
    "cla_share_factor": 2,
    "num_experts": 2,
    "use_mixed_mlp_moe": True,
    "tie_word_embeddings": True,
    "pad_token_id": None,
}
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


def config(**changes: Any) -> HunYuanConfig:
    return HunYuanConfig(**(SHAPE | changes))


def checkpoint(of: HunYuanConfig) -> dict[str, Tensor]:
    weights = dict(HunYuanForCausalLM(of).state_dict())
    if of.tie_word_embeddings:
        del weights["lm_head.weight"]
    return weights


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}, {"use_cla": False}, {"num_experts": 1}])
def test_a_whole_checkpoint_passes_as_it_is(changes: dict[str, Any]) -> None:
    weights = checkpoint(config(**changes))
    assert dict(checked(weights.items(), config(**changes))) == weights


def test_copies_that_old_checkpoints_hold_are_left_out() -> None:
    weights = checkpoint(config())
    copies = {"lm_head.weight": torch.zeros(32, 16), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    assert dict(checked((weights | copies).items(), config())).keys() == weights.keys()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({Q_PROJ: None}, f"the checkpoint lacks {Q_PROJ}"),
        (
            {Q_PROJ: torch.zeros(8, 16)},
            rf"{Q_PROJ} has shape \[8, 16\] in the checkpoint; config.json asks for \[16, 16\]",
        ),
        (
            {"model.layers.1.self_attn.k_proj.weight": torch.zeros(16, 16)},
            "holds model.layers.1.self_attn.k_proj.weight",
        ),
        ({"model.layers.5.mlp.gate.wg.weight": torch.zeros(2, 16)}, "holds model.layers.5.mlp.gate.wg.weight"),
        ({"model.layers.0.self_attn.q_proj.bias": torch.zeros(16)}, "holds model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_what_is_missing_strange_or_misshapen_is_named(change: dict[str, Tensor | None], why: str) -> None:
    weights = {name: tensor for name, tensor in (checkpoint(config()) | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=why):
        list(checked(weights.items(), config()))


def test_a_tensor_in_two_files_is_refused() -> None:
    weights = list(checkpoint(config()).items())
    with pytest.raises(ValueError, match="two files of the checkpoint hold model"):
        list(checked([*weights, weights[0]], config()))


def test_many_missing_tensors_are_counted() -> None:
    with pytest.raises(ValueError, match=r"lacks model\.embed_tokens\.weight, .* and \d+ more"):
        list(checked([], config()))


def test_a_quantised_checkpoint_may_store_other_tensors_but_must_hold_every_module() -> None:
    quantised = config(quantization_config={"quant_method": "fp8"})
    weights = checkpoint(config()) | {Q_PROJ.replace("weight", "weight_scale"): torch.ones(())}
    assert dict(checked(weights.items(), quantised)).keys() == weights.keys()
    kept = {name: tensor for name, tensor in weights.items() if "layers.1.self_attn.q_proj" not in name}
    with pytest.raises(ValueError, match=r"lacks model\.layers\.1\.self_attn\.q_proj"):
        list(checked(kept.items(), quantised))


@pytest.mark.parametrize("name", ["kv_scale", "k_scale", "k_proj.output_scale", "v_scale", "v_proj.output_scale"])
@pytest.mark.parametrize("normed", [True, False])
def test_scales_of_a_cache_reach_every_layer_that_reads_it(name: str, normed: bool) -> None:
    stored = torch.tensor(0.25)
    weights = {f"model.layers.{layer}.self_attn.{name}": stored for layer in (2, 3, 4)} | {Q_PROJ: torch.ones(1)}
    shared = dict(share_kv_scales(weights.items(), config(use_qk_norm=normed)))
    kinds = "kv" if name.startswith("kv") else name[0]
    expected = {"k": 1.0 if normed else 0.25, "v": 0.25}
    assert shared.pop(Q_PROJ) == 1
    assert {key: value.item() for key, value in shared.items()} == {
        f"model.layers.{layer}.self_attn.attn.{kind}_scale": expected[kind] for layer in (2, 3, 4) for kind in kinds
    }


def test_only_a_layer_that_owns_keys_and_values_fuses_its_query() -> None:
    names = fused_names(config())
    assert names[".layers.0.self_attn.q_proj"] == (".layers.0.self_attn.qkv_proj", "q")
    assert names[".layers.4.self_attn.v_proj"] == (".layers.4.self_attn.qkv_proj", "v")
    assert not any(".layers.1." in name or ".layers.3." in name for name in names)
    assert names[".shared_mlp.up_proj"] == (".shared_mlp.gate_up_proj", 1)
