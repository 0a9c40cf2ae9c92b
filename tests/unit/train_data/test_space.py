"""How much a fine-tune writes: the module's formulas with numbers that were worked out by hand."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hunyuan_runtime.checkpoint.headers import Entry
from hunyuan_runtime.checkpoint.reader import Reader
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.train.space import gigabytes, needs_of
from hunyuan_runtime.train_config import TrainConfig

LAYER = "model.layers.0"
TENSORS = {
    "model.embed_tokens.weight": Entry("BF16", (100, 10)),
    f"{LAYER}.self_attn.q_proj.weight": Entry("BF16", (10, 10)),
    f"{LAYER}.self_attn.k_proj.weight": Entry("BF16", (4, 10)),
    f"{LAYER}.self_attn.query_layernorm.weight": Entry("BF16", (5,)),
    f"{LAYER}.mlp.gate.wg.weight": Entry("F32", (2, 10)),
    f"{LAYER}.mlp.experts.0.up_proj.weight": Entry("BF16", (30, 10)),
}
ALL, ROUTER, LINEAR = 1000 + 100 + 40 + 5 + 20 + 300, 20, 100 + 40 + 300


def config(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "name": "car", "model_path": "/m", "data_path": "/d", "output": "/o", "nodes": 2, "gpus_per_node": 8,
        "training": {"max_steps": 1, "save_steps": 1, "max_seq_length": 16},
        "lora": {"rank": 3, "targets": ["q_proj", "k_proj"]},
    }  # fmt: skip
    return TrainConfig.model_validate(values | changes)


@pytest.mark.parametrize(
    ("changes", "checkpoint", "adapter", "merged", "fp8"),
    [
        ({"method": "full"}, ALL * 16, 0, ALL * 2 + ROUTER * 2, 0),
        ({"method": "full", "merge_dtype": "fp32"}, ALL * 16, 0, ALL * 4, 0),
        ({"method": "attention"}, 145 * 16, 0, ALL * 2 + ROUTER * 2, 0),
        ({"method": "lora"}, 3 * 34 * 16, 3 * 34 * 4, ALL * 2 + ROUTER * 2, 0),
        ({"quantize": "fp8"}, 3 * 34 * 16, 3 * 34 * 4, ALL * 2 + ROUTER * 2, ALL * 2 + ROUTER * 2 - LINEAR + 3 * 16),
    ],
)
def test_needs_follow_method_and_precisions(
    changes: dict[str, Any], checkpoint: int, adapter: int, merged: int, fp8: int
) -> None:
    needs = needs_of(config(**changes), TENSORS)
    assert (needs.checkpoint, needs.adapter, needs.merged, needs.fp8) == (checkpoint, adapter, merged, fp8)


@pytest.mark.parametrize("changes", [{"zero": 2}, {"zero": 3, "offload": "all"}])
def test_zero_and_offload_change_nothing(changes: dict[str, Any]) -> None:
    assert needs_of(config(deepspeed=changes), TENSORS) == needs_of(config(), TENSORS)


def test_one_checkpoint_more_than_are_kept_is_there_while_it_is_written() -> None:
    needs = needs_of(config(method="full", keep_checkpoints=4), TENSORS)
    assert needs.total == 5 * needs.checkpoint + needs.merged + (64 << 20)


def test_lora_of_hunyuan_large_has_the_published_number_of_parameters() -> None:
    """133.7 million, as the original's train.sh reports them for rank 64 on q, k, v and o."""
    large = {
        f"model.layers.{layer}.self_attn.{name}_proj.weight": Entry("BF16", (640 if name in "kv" else 6400, 6400))
        for layer in range(64)
        for name in ("qkvo" if layer % 2 == 0 else "qo")
    }
    needs = needs_of(config(lora={"rank": 64}), large)
    assert round(needs.adapter / 4 / 1e6, 1) == 133.7


def test_the_merged_size_is_that_of_a_written_checkpoint(base_model: Path) -> None:
    needs = needs_of(config(), Reader(base_model, HunYuanConfig.from_pretrained(base_model)).entries)
    stored = [tensor for file in base_model.glob("*.safetensors") for tensor in load_file(file).items()]
    wide = sum(2 * tensor.numel() for name, tensor in stored if "wg" in name and tensor.element_size() == 2)
    assert needs.merged == sum(tensor.nbytes for _, tensor in stored) + wide


@pytest.mark.parametrize(("size", "text"), [(0, "0.0 MB"), (99_000_000, "99.0 MB"), (777_400_000_000, "777.4 GB")])
def test_sizes_are_said_in_the_unit_that_fits(size: int, text: str) -> None:
    assert gigabytes(size) == text
