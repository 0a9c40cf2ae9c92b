"""Output files are cut by size, in the source's order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hunyuan_runtime.quantize.output import plan_shards


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([3, 3, 3], [[0, 1, 2]]),
        ([5, 5, 1], [[0, 1], [2]]),
        ([5, 6, 4], [[0], [1, 2]]),
        ([20], [[0]]),
        ([20, 1, 20], [[0], [1], [2]]),
    ],
)
def test_a_file_takes_tensors_until_the_limit_of_ten(sizes: list[int], groups: list[list[int]]) -> None:
    shards = plan_shards({str(number): size for number, size in enumerate(sizes)}, 10)
    assert [[int(name) for name in shard.tensors] for shard in shards] == groups


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_every_tensor_is_in_one_file_and_a_file_is_small_or_holds_one_tensor(sizes: list[int]) -> None:
    named = {str(number): size for number, size in enumerate(sizes)}
    shards = plan_shards(named, 10)
    assert [name for shard in shards for name in shard.tensors] == list(named)
    assert all(shard.size == sum(named[name] for name in shard.tensors) for shard in shards)
    assert all(shard.size <= 10 or len(shard.tensors) == 1 for shard in shards)
    assert shards[-1].name == f"model-{len(shards):05}-of-{len(shards):05}.safetensors"
