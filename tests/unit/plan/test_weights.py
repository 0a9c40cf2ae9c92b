"""How many weights there are, where they lie, and what a token costs in the KV cache."""

import pytest
from hunyuan_operator.api.architecture import HUNYUAN_LARGE, Architecture
from hunyuan_operator.plan.weights import (
    active_parameters,
    kv_bytes_per_token,
    kv_owners,
    parameters,
    share,
    stage_weights,
    stages,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from hunyuan_runtime.config import Quantization
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.engine_layout import stage_layers
from hunyuan_runtime.serve.engine_weights import expected_tensors

TINY = Architecture(
    num_hidden_layers=5,
    hidden_size=160,
    intermediate_size=256,
    vocab_size=768,
    num_attention_heads=4,
    num_key_value_heads=2,
    num_experts=4,
    use_mixed_mlp_moe=True,
    num_shared_expert=2,
    use_cla=True,
    cla_share_factor=2,
    use_qk_norm=True,
)


def like_large(**other: object) -> Architecture:
    return HUNYUAN_LARGE.model_copy(update=other)


def billions(count: float) -> float:
    return round(count / 1e9, 2)


def test_hunyuan_large_has_as_many_parameters_as_published() -> None:
    assert billions(parameters(HUNYUAN_LARGE)) == 388.70
    assert billions(active_parameters(HUNYUAN_LARGE)) == 51.32


def test_and_they_are_where_the_report_says() -> None:
    [whole] = stages(HUNYUAN_LARGE, 1)
    weights = stage_weights(HUNYUAN_LARGE, whole)
    shared = 64 * 3 * 6400 * 18304
    assert billions(weights.routed) == 359.87
    assert billions(shared) == 22.49
    assert round((weights.dense - shared) / 1e9, 3) == 5.505
    assert round(weights.head / 1e9, 3) == 0.826
    assert weights.embedding == 0, "it is the head"


@pytest.mark.parametrize(("quantization", "gigabytes"), [("bf16", 777.4), ("int8", 417.7), ("fp8", 389.5)])
def test_bytes_of_the_whole_model(quantization: Quantization, gigabytes: float) -> None:
    [whole] = stages(HUNYUAN_LARGE, 1)
    assert round(stage_weights(HUNYUAN_LARGE, whole).bytes(quantization) / 1e9, 1) == gigabytes


@pytest.mark.parametrize(
    ("architecture", "element", "expected"),
    [
        pytest.param(like_large(use_cla=False, num_key_value_heads=80), 2, 1_638_400, id="MHA"),
        pytest.param(like_large(use_cla=False), 2, 163_840, id="GQA"),
        pytest.param(HUNYUAN_LARGE, 2, 81_920, id="GQA + CLA"),
        pytest.param(HUNYUAN_LARGE, 1, 40_960, id="GQA + CLA, FP8"),
    ],
)
def test_bytes_of_a_token_in_the_kv_cache(architecture: Architecture, element: int, expected: int) -> None:
    assert kv_bytes_per_token(architecture, element) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"use_cla": False, "use_qk_norm": False},
        {"use_mixed_mlp_moe": False, "num_key_value_heads": None},
        {"num_experts": 1},
        {"head_dim": 80, "cla_share_factor": 3, "moe_topk": 2},
    ],
)
def test_the_count_is_the_reference_models(changes: dict[str, object]) -> None:
    architecture = Architecture.model_validate(TINY.model_dump() | changes)
    shapes = expected_tensors(HunYuanConfig(**architecture.model_dump(exclude_none=True)))
    assert parameters(architecture) == sum(shape.numel() for shape in shapes.values())


@given(layers=st.integers(1, 1024), group=st.integers(1, 64), pipeline=st.integers(1, 64))
def test_stages_are_the_engines_and_split_no_group(layers: int, group: int, pipeline: int) -> None:
    """Whatever the number of layers and stages; more stages than groups are refused before."""
    assume(pipeline <= share(layers, group))
    architecture = like_large(num_hidden_layers=layers, use_cla=True, cla_share_factor=group)
    dealt = stages(architecture, pipeline)
    bounds = [stage_layers(layers, group, index, pipeline) for index in range(pipeline)]
    assert [stage.layers for stage in dealt] == [end - start for start, end in bounds]
    assert all(start % group == 0 and start < end for start, end in bounds)
    assert [start for start, _ in bounds] + [layers] == [0] + [end for _, end in bounds]
    assert sum(kv_owners(architecture, stage) for stage in dealt) == share(layers, group)


@given(tensor=st.integers(1, 128), pipeline=st.integers(1, 32), tied=st.booleans())
def test_the_ranks_together_hold_at_least_the_whole(tensor: int, pipeline: int, tied: bool) -> None:
    architecture = like_large(tie_word_embeddings=tied)
    held = [stage_weights(architecture, stage, tensor) for stage in stages(architecture, pipeline)]
    assert tensor * sum(weights.total for weights in held) >= parameters(architecture)
    quantizations: tuple[Quantization, ...] = ("bf16", "int8", "fp8")
    sizes = [sum(weights.bytes(quantization) for weights in held) for quantization in quantizations]
    assert sizes == sorted(sizes, reverse=True)


def test_heads_are_replicated_beyond_one_a_rank() -> None:
    [whole] = stages(HUNYUAN_LARGE, 1)
    eight, sixteen = (stage_weights(HUNYUAN_LARGE, whole, tensor) for tensor in (8, 16))
    keys_and_values = 32 * 2 * 640 * 6400
    assert 16 * sixteen.dense == 8 * eight.dense + keys_and_values
