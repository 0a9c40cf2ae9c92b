"""Ranks on nodes, and the model on ranks."""

from itertools import pairwise

import pytest
from hunyuan_operator.api.architecture import HUNYUAN_LARGE, Architecture
from hunyuan_operator.api.deployment import Parallelism
from hunyuan_operator.errors import DoesNotFit, InvalidTopology
from hunyuan_operator.plan.serving import plan_serving
from hunyuan_operator.plan.topology import Topology, candidates, even_split, lay_out, unevenness
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hunyuan_runtime.config import Quantization
from hunyuan_runtime.serve.engine_layout import stage_layers
from tests.unit.plan.specs import spec


def like_large(**other: object) -> Architecture:
    return HUNYUAN_LARGE.model_copy(update=other)


def split(tensor: int, pipeline: int = 1) -> Parallelism:
    return Parallelism(tensor=tensor, pipeline=pipeline)


def test_ranks_fill_nodes() -> None:
    expected = Topology(nodes=2, gpus_per_node=8, tensor_parallel=8, pipeline_parallel=2)
    assert lay_out(split(8, 2), per_node=8) == expected


def test_a_larger_node_gives_only_what_is_needed() -> None:
    assert lay_out(split(4), per_node=8).gpus_per_node == 4


def test_ranks_that_do_not_divide_are_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidTopology, match=r"12 ranks.*perNode to 6.*product of 8"):
        lay_out(split(6, 2), per_node=8)


@given(tensor=st.integers(1, 128), pipeline=st.integers(1, 64), per_node=st.integers(1, 16))
def test_every_rank_has_one_gpu_or_the_way_out_works(tensor: int, pipeline: int, per_node: int) -> None:
    try:
        planned = lay_out(split(tensor, pipeline), per_node)
    except InvalidTopology as error:
        advised = int(str(error).split("perNode to ")[1].split(",")[0])
        planned = lay_out(split(tensor, pipeline), advised)
    assert planned.nodes * planned.gpus_per_node == tensor * pipeline
    assert planned.gpus_per_node <= per_node


@given(per_node=st.integers(1, 16))
def test_candidates_come_fewest_gpus_first_then_most_tensor_parallel_and_stay_on_a_node(per_node: int) -> None:
    found = list(candidates(per_node))
    order = [(each.ranks, -each.tensor_parallel) for each in found]
    assert all(one < other for one, other in pairwise(order))
    assert all(each.tensor_parallel <= each.gpus_per_node <= per_node for each in found)


@pytest.mark.parametrize(
    ("quantization", "tensor", "pipeline"),
    [
        ("bf16", 1, 1),
        ("bf16", 8, 2),
        ("bf16", 16, 1),
        ("bf16", 8, 32),
        ("bf16", 8, 3),
        ("int8", 16, 1),
        ("fp8", 8, 1),
        ("fp8", 8, 2),
        ("fp8", 4, 4),
    ],
)
def test_hunyuan_large_splits_evenly(quantization: Quantization, tensor: int, pipeline: int) -> None:
    assert unevenness(HUNYUAN_LARGE, quantization, split(tensor, pipeline)) == ""


@pytest.mark.parametrize(
    ("quantization", "tensor", "pipeline", "why"),
    [
        ("bf16", 3, 1, "num_attention_heads 80 doesn't divide over tensor 3"),
        ("bf16", 32, 1, "num_attention_heads 80 doesn't divide over tensor 32"),
        ("bf16", 40, 1, "intermediate_size 18304 doesn't divide over tensor 40"),
        ("bf16", 8, 33, "64 layers form 32 groups that share keys and values, too few for pipeline 33"),
        ("fp8", 16, 1, "tensor 16 leaves 1144 of intermediate_size on a rank, which is no multiple of 16, as FP8"),
    ],
)
def test_or_it_does_not_and_this_is_why(quantization: Quantization, tensor: int, pipeline: int, why: str) -> None:
    assert unevenness(HUNYUAN_LARGE, quantization, split(tensor, pipeline)).startswith(why)


@pytest.mark.parametrize("tensor", [5, 20])
def test_key_and_value_heads_that_are_neither_divided_nor_replicated_evenly(tensor: int) -> None:
    model = HUNYUAN_LARGE.model_copy(update={"intermediate_size": 18300, "vocab_size": 128000})
    assert unevenness(model, "bf16", split(tensor)).startswith("num_key_value_heads 8 can be neither")


def shapes() -> st.SearchStrategy[Architecture]:
    """Hunyuan-Large and its odd relatives."""
    return st.builds(
        lambda kv_heads, queries, **sizes: like_large(
            num_attention_heads=kv_heads * queries, num_key_value_heads=kv_heads, **sizes
        ),
        kv_heads=st.sampled_from([8, 2, 80, 3]),
        queries=st.sampled_from([10, 1]),
        head_dim=st.sampled_from([80, 128, 40]),
        hidden_size=st.sampled_from([6400, 6408]),
        intermediate_size=st.sampled_from([18304, 4096, 18300]),
        vocab_size=st.sampled_from([129024, 1000]),
        num_hidden_layers=st.integers(1, 70),
        cla_share_factor=st.integers(1, 3),
        weight_block_size=st.sampled_from([None, 128]),
    )


def engine_can(model: Architecture, quantization: Quantization, split: Parallelism) -> bool:
    """What vLLM's layers ask for, each written down once more: whole shares, and sides that its FP8 kernels take."""
    tensor, kv_heads = split.tensor, model.kv_heads
    try:
        stage_layers(model.num_hidden_layers, model.kv_group, 0, split.pipeline)
    except ValueError:
        return False
    vocabulary = -(-model.vocab_size // 64) * 64
    whole = all(size % tensor == 0 for size in (model.num_attention_heads, model.intermediate_size, vocabulary))
    if not whole or max(kv_heads, tensor) % min(kv_heads, tensor):
        return False
    if quantization != "fp8":
        return True
    width = model.head_width
    sides = (
        model.intermediate_size // tensor,
        model.num_attention_heads // tensor * width,
        max(kv_heads // tensor, 1) * width,
    )
    block = model.weight_block_size or 1
    return all(side % 16 == 0 and side % block == 0 for side in sides) and model.hidden_size % 16 == 0


@given(
    model=shapes(),
    quantization=st.sampled_from(["bf16", "int8", "fp8"]),
    tensor=st.sampled_from([1, 2, 4, 8, 16, 3, 20]),
    pipeline=st.integers(1, 8),
)
@settings(max_examples=500)
@example(model=HUNYUAN_LARGE, quantization="fp8", tensor=16, pipeline=1)
@example(model=like_large(weight_block_size=128), quantization="fp8", tensor=8, pipeline=1)
def test_what_the_engine_cannot_split_is_refused_and_nothing_else(
    model: Architecture, quantization: Quantization, tensor: int, pipeline: int
) -> None:
    assert (unevenness(model, quantization, split(tensor, pipeline)) == "") == engine_can(
        model, quantization, split(tensor, pipeline)
    )


@given(model=shapes(), quantization=st.sampled_from(["bf16", "int8", "fp8"]), per_node=st.integers(1, 16))
def test_a_derived_split_is_one_that_the_engine_can(
    model: Architecture, quantization: Quantization, per_node: int
) -> None:
    camel = model.model_dump(by_alias=True, exclude_none=True)
    try:
        plan = plan_serving(spec(camel, quantization=quantization, gpus={"perNode": per_node, "memory": "1000Gi"}))
    except DoesNotFit:
        return
    except InvalidTopology:
        ranks = [1 << power for power in range(5)]
        assert not any(engine_can(model, quantization, split(tensor)) for tensor in ranks if tensor <= per_node)
        return
    found = split(plan.topology.tensor_parallel, plan.topology.pipeline_parallel)
    assert engine_can(model, quantization, found)


@pytest.mark.parametrize("tensor", [2, 4, 8])
def test_blocks_of_an_fp8_checkpoint_are_never_split(tensor: int) -> None:
    model = HUNYUAN_LARGE.model_copy(update={"weight_block_size": 128})
    assert "splits the checkpoint's blocks of 128" in unevenness(model, "fp8", split(tensor))
    assert unevenness(model, "fp8", split(1, 8)) == ""
    assert unevenness(model, "bf16", split(tensor)) == ""


@pytest.mark.parametrize(
    ("quantization", "ranks", "per_node", "expected"),
    [
        ("fp8", 16, 16, split(8, 2)),
        ("bf16", 16, 16, split(16)),
        ("bf16", 16, 4, split(4, 4)),
        ("bf16", 12, 12, split(4, 3)),
        ("bf16", 61, 16, None),
    ],
)
def test_another_split_of_as_many_ranks(
    quantization: Quantization, ranks: int, per_node: int, expected: Parallelism | None
) -> None:
    assert even_split(HUNYUAN_LARGE, quantization, ranks, per_node) == expected


@given(ranks=st.integers(1, 512), per_node=st.integers(1, 16), fp8=st.booleans())
def test_another_split_is_even_keeps_the_number_of_gpus_and_stays_on_a_node(
    ranks: int, per_node: int, fp8: bool
) -> None:
    quantization: Quantization = "fp8" if fp8 else "bf16"
    if found := even_split(HUNYUAN_LARGE, quantization, ranks, per_node):
        assert found.tensor * found.pipeline == ranks
        assert found.tensor <= per_node
        assert unevenness(HUNYUAN_LARGE, quantization, found) == ""
