"""Ranks on nodes."""

from typing import Any

import pytest
from hunyuan_operator.api.deployment import HunyuanDeploymentSpec
from hunyuan_operator.errors import InvalidTopology
from hunyuan_operator.plan.topology import Topology, plan_topology
from hypothesis import given
from hypothesis import strategies as st


def spec(**fields: Any) -> HunyuanDeploymentSpec:
    return HunyuanDeploymentSpec.model_validate({"model": {"pvc": {"claimName": "models"}}} | fields)


def split(tensor: int, pipeline: int, per_node: int) -> HunyuanDeploymentSpec:
    return spec(parallelism={"tensor": tensor, "pipeline": pipeline}, gpus={"perNode": per_node})


@pytest.mark.parametrize(
    ("quantization", "per_node", "nodes", "tensor", "pipeline"),
    [
        pytest.param("bf16", 8, 2, 8, 2, id="two nodes of 8 hold bf16, one pipeline stage each"),
        pytest.param("bf16", 16, 1, 16, 1, id="one node of 16 needs no pipeline"),
        pytest.param("bf16", 4, 4, 4, 4, id="four nodes of 4"),
        pytest.param("fp8", 8, 1, 8, 1, id="one node of 8 holds fp8"),
        pytest.param("int8", 8, 1, 8, 1, id="and int8"),
        pytest.param("fp8", 16, 1, 8, 1, id="a larger node gives only what is needed"),
        pytest.param("fp8", 1, 8, 1, 8, id="eight nodes of one"),
    ],
)
def test_the_smallest_world_is_derived_and_tensor_parallelism_stays_on_a_node(
    quantization: str, per_node: int, nodes: int, tensor: int, pipeline: int
) -> None:
    planned = plan_topology(spec(quantization=quantization, gpus={"perNode": per_node}))
    assert planned == Topology(
        nodes=nodes,
        gpus_per_node=tensor * pipeline // nodes,
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
    )


def test_parallelism_overrides_it() -> None:
    expected = Topology(nodes=2, gpus_per_node=1, tensor_parallel=2, pipeline_parallel=1)
    assert plan_topology(split(2, 1, per_node=1)) == expected


def test_ranks_that_do_not_divide_are_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidTopology, match=r"12 ranks.*perNode to 6.*product of 8"):
        plan_topology(split(6, 2, per_node=8))


@given(tensor=st.integers(1, 128), pipeline=st.integers(1, 64), per_node=st.integers(1, 16))
def test_every_rank_has_one_gpu_or_the_way_out_works(tensor: int, pipeline: int, per_node: int) -> None:
    try:
        planned = plan_topology(split(tensor, pipeline, per_node))
    except InvalidTopology as error:
        advised = int(str(error).split("perNode to ")[1].split(",")[0])
        planned = plan_topology(split(tensor, pipeline, advised))
    assert planned.nodes * planned.gpus_per_node == tensor * pipeline
    assert planned.gpus_per_node <= per_node
