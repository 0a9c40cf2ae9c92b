"""Which layers a pipeline stage holds, and which rotary embedding vLLM is asked for."""

from itertools import accumulate, pairwise
from typing import Any

import pytest

from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.engine_layout import rope_parameters, stage_layers

ALPHA = {"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0}


@pytest.mark.parametrize(
    ("layers", "group", "sizes"),
    [
        (64, 2, [64]),
        (64, 2, [32, 32]),
        (64, 2, [22, 22, 20]),
        (64, 2, [16, 16, 16, 16]),
        (6, 1, [3, 3]),
        (6, 2, [4, 2]),
        (6, 3, [3, 3]),
        (5, 2, [4, 1]),
        (10, 2, [4, 4, 2]),
    ],
)
def test_stages_hold_whole_groups(layers: int, group: int, sizes: list[int]) -> None:
    bounds = list(pairwise([0, *accumulate(sizes)]))
    assert [stage_layers(layers, group, stage, len(sizes)) for stage in range(len(sizes))] == bounds


def test_a_partition_that_splits_no_group_is_taken_as_it_is() -> None:
    assert [stage_layers(64, 2, stage, 2, "30,34") for stage in range(2)] == [(0, 30), (30, 64)]


@pytest.mark.parametrize(
    ("stages", "partition", "why"),
    [
        (4, None, "6 layers form 3 groups that share keys and values, too few for 4 pipeline stages"),
        (2, "3,3", "VLLM_PP_LAYER_PARTITION=3,3 splits a group of 2 layers"),
        (2, "4,4", "VLLM_PP_LAYER_PARTITION=4,4 doesn't deal 6 layers to 2 stages"),
        (2, "2,2,2", "VLLM_PP_LAYER_PARTITION=2,2,2 doesn't deal 6 layers to 2 stages"),
    ],
)
def test_an_impossible_split_is_refused_with_the_reason(stages: int, partition: str | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        stage_layers(6, 2, 0, stages, partition)


@pytest.mark.parametrize(
    ("scaling", "parameters"),
    [
        ({"type": "dynamic", "alpha": 1000.0, "factor": 1.0}, ALPHA),
        ({"type": "linear", "alpha": 1000.0, "factor": 1.0}, ALPHA),
        (None, {"rope_type": "default", "rope_theta": 10000.0}),
        ({"type": "linear", "factor": 2.0}, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
    ],
)
def test_alpha_decides_the_rotary_embedding(scaling: dict[str, Any] | None, parameters: dict[str, Any]) -> None:
    config = HunYuanConfig(rope_theta=10000.0, rope_scaling=scaling)
    assert {key: value for key, value in rope_parameters(config).items() if key != "type"} == parameters
