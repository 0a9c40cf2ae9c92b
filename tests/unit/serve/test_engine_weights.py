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


STORED_SCALES = {
    "kv_scale": "kv",
    "k_scale": "k",
    "k_proj.output_scale": "k",
    "v_scale": "v",
    "v_proj.output_scale": "v",
    "attn.k_scale": "k",
    "attn.v_scale": "v",
}


def shared_scales(name: str, *, normed: bool) -> dict[str, float]:
    """What the engine gets of a scale stored for each of layers 2, 3 and 4."""
    weights = {f"model.layers.{layer}.self_attn.{name}": torch.tensor(0.25) for layer in (2, 3, 4)}
    shared = dict(share_kv_scales((weights | {Q_PROJ: torch.ones(1)}).items(), config(use_qk_norm=normed)))
    assert shared.pop(Q_PROJ) == 1
    return {key: value.item() for key, value in shared.items()}


@pytest.mark.parametrize("name", STORED_SCALES)
def test_scales_of_a_cache_reach_every_layer_that_reads_it(name: str) -> None:
    assert shared_scales(name, normed=False) == {
        f"model.layers.{layer}.self_attn.attn.{kind}_scale": 0.25 for layer in (2, 3, 4) for kind in STORED_SCALES[name]
    }


@pytest.mark.parametrize("name", STORED_SCALES)
def test_keys_of_unit_rms_have_a_scale_of_one_which_comes_with_that_of_the_values(name: str) -> None:
    """The engine takes both scales or none."""
    expected = {"k": 1.0, "v": 0.25} if "v" in STORED_SCALES[name] else {}
    assert shared_scales(name, normed=True) == {
        f"model.layers.{layer}.self_attn.attn.{kind}_scale": value
        for layer in (2, 3, 4)
        for kind, value in expected.items()
    }


def eight_bits() -> tuple[HunYuanConfig, dict[str, Tensor]]:
    """A checkpoint with one weight in FP8, and its two scales."""
    quantised = config(quantization_config={"quant_method": "fp8", "activation_scheme": "static"})
    weights = checkpoint(config())
    weights[Q_PROJ] = weights[Q_PROJ].to(torch.float8_e4m3fn)
    return quantised, weights | {
        Q_PROJ.replace("weight", kind): torch.ones(()) for kind in ("weight_scale", "input_scale")
    }


@pytest.mark.parametrize("kind", ["weight_scale", "input_scale"])
def test_an_eight_bit_weight_without_its_scale_is_refused(kind: str) -> None:
    quantised, weights = eight_bits()
    assert dict(checked(weights.items(), quantised)).keys() == weights.keys()
    del weights[Q_PROJ.replace("weight", kind)]
    with pytest.raises(ValueError, match=rf"lacks model\.layers\.1\.self_attn\.q_proj\.{kind}"):
        list(checked(weights.items(), quantised))


def test_eight_bit_weights_without_a_quantization_config_are_refused() -> None:
    _, weights = eight_bits()
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith("_scale")}
    with pytest.raises(ValueError, match=r"q_proj\.weight is FP8, but config\.json has no quantization_config"):
        list(checked(kept.items(), config()))


def test_only_a_layer_that_owns_keys_and_values_fuses_its_query() -> None:
    names = fused_names(config())
    assert names[".layers.0.self_attn.q_proj"] == (".layers.0.self_attn.qkv_proj", "q")
    assert names[".layers.4.self_attn.v_proj"] == (".layers.4.self_attn.qkv_proj", "v")
    assert not any(".layers.1." in name or ".layers.3." in name for name in names)
    assert names[".shared_mlp.up_proj"] == (".shared_mlp.gate_up_proj", 1)
