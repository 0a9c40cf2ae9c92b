"""From a spec to its layout, or to what is wrong with it and what would help."""

from typing import Any

import pytest
from hunyuan_operator.errors import DoesNotFit, InvalidTopology, Unplannable
from hunyuan_operator.plan.serving import changes_that_fit, plan_serving
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.specs import SMALL, spec


def gpus(per_node: int, memory: str = "96Gi") -> dict[str, Any]:
    return {"perNode": per_node, "memory": memory}


@pytest.mark.parametrize(
    ("quantization", "gpus", "nodes", "per_node", "tensor", "pipeline"),
    [
        pytest.param("bf16", gpus(8), 2, 8, 8, 2, id="two nodes of 8 hold bf16, one pipeline stage each"),
        pytest.param("bf16", gpus(16), 1, 16, 16, 1, id="one node of 16 needs no pipeline"),
        pytest.param("bf16", gpus(4), 4, 4, 4, 4, id="four nodes of 4"),
        pytest.param("bf16", gpus(6), 4, 4, 4, 4, id="of a node of 6, 4 split the model evenly"),
        pytest.param("bf16", gpus(8, "80Gi"), 2, 8, 8, 2, id="80 GiB are enough, too"),
        pytest.param("bf16", gpus(8, "141Gi"), 1, 8, 8, 1, id="one node of larger GPUs holds bf16"),
        pytest.param("bf16", gpus(8, "40Gi"), 4, 8, 8, 4, id="smaller GPUs need more nodes"),
        pytest.param("fp8", gpus(8), 1, 8, 8, 1, id="one node of 8 holds fp8"),
        pytest.param("int8", gpus(8), 1, 8, 8, 1, id="and int8"),
        pytest.param("fp8", gpus(16), 1, 8, 8, 1, id="a larger node gives only what is needed"),
        pytest.param("fp8", gpus(16, "40Gi"), 1, 16, 8, 2, id="16 ranks of fp8 are two stages, since 1144 is odd"),
        pytest.param("fp8", gpus(1), 8, 1, 1, 8, id="eight nodes of one"),
    ],
)
def test_the_fewest_gpus_are_derived_and_this_is_a_promise_to_running_groups(
    quantization: str, gpus: dict[str, Any], nodes: int, per_node: int, tensor: int, pipeline: int
) -> None:
    """A row that changes moves groups that run: it belongs into the change log."""
    found = plan_serving(spec(quantization=quantization, gpus=gpus)).topology
    assert (found.nodes, found.gpus_per_node) == (nodes, per_node)
    assert (found.tensor_parallel, found.pipeline_parallel) == (tensor, pipeline)


def test_blocks_of_a_checkpoint_are_kept_whole_by_pipeline_stages() -> None:
    large = {
        "numHiddenLayers": 64,
        "hiddenSize": 6400,
        "intermediateSize": 18304,
        "vocabSize": 129024,
        "numAttentionHeads": 80,
        "numKeyValueHeads": 8,
        "numExperts": 16,
        "useMixedMlpMoe": True,
        "weightBlockSize": 128,
    }
    found = plan_serving(spec(large, quantization="fp8")).topology
    assert (found.nodes, found.tensor_parallel, found.pipeline_parallel) == (1, 1, 8)


def test_parallelism_overrides_what_would_be_derived() -> None:
    found = plan_serving(spec(SMALL, gpus=gpus(1), parallelism={"tensor": 2})).topology
    assert (found.nodes, found.tensor_parallel, found.pipeline_parallel) == (2, 2, 1)


@pytest.mark.parametrize("utilization", [0.5, 0.92, 0.98, 1.0])
def test_bf16_on_eight_gpus_is_refused_with_the_numbers_and_the_smallest_change(utilization: float) -> None:
    with pytest.raises(DoesNotFit) as refused:
        plan_serving(spec(parallelism={"tensor": 8}, engine={"gpuMemoryUtilization": utilization}))
    told = str(refused.value)
    assert "bf16 on 8 GPUs of 96Gi" in told
    assert "weights take 97.2 GB" in told
    assert "Smallest change that fits: spec." in told


def test_the_refusal_reads_well() -> None:
    with pytest.raises(DoesNotFit) as refused:
        plan_serving(spec(parallelism={"tensor": 8}))
    assert str(refused.value) == (
        "bf16 on 8 GPUs of 96Gi ({tensor: 8, pipeline: 1}) does not fit: of the 94.8 GB that the engine may use of a "
        "GPU, weights take 97.2 GB, activations and the runtime 5.0 GB; that leaves room for 0 tokens of KV cache, and "
        "a request of spec.maxModelLen has 10240. Smallest change that fits: spec.parallelism {tensor: 8, pipeline: 2} "
        "(16 GPUs on 2 nodes, 48.7 GB of weights each), or spec.quantization int8 (52.3 GB of weights on each of 8 "
        "GPUs), or spec.quantization fp8 (48.7 GB of weights on each of 8 GPUs). All this is for Hunyuan-Large; "
        "spec.model.architecture tells of a checkpoint of another shape"
    )


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        pytest.param(
            {"quantization": "int8", "parallelism": {"tensor": 8}, "gpus": gpus(8, "64Gi"), "maxModelLen": 1048576},
            "spec.maxModelLen 586288, or spec.parallelism {tensor: 8, pipeline: 2} (16 GPUs on 2 nodes, 26.2 GB",
            id="a shorter context comes before more GPUs",
        ),
        pytest.param(
            {"quantization": "fp8", "parallelism": {"tensor": 4}},
            "spec.parallelism {tensor: 8, pipeline: 1} (8 GPUs on 1 node, 48.7 GB of weights each). ",
            id="more GPUs of the same node",
        ),
        pytest.param({"gpus": gpus(8, "2Gi")}, "GPUs with spec.gpus.memory 9Gi", id="larger GPUs for want of others"),
        pytest.param(
            {"parallelism": {"tensor": 2}, "gpus": gpus(6)},
            "no spec.parallelism (16 GPUs on 4 nodes, 48.9 GB of weights each)",
            id="a node of six GPUs is left to the operator",
        ),
    ],
)
def test_smallest_change(fields: dict[str, Any], advice: str) -> None:
    with pytest.raises(DoesNotFit) as refused:
        plan_serving(spec(**fields))
    assert f"Smallest change that fits: {advice}" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param(
            {"quantization": "fp8", "parallelism": {"tensor": 16}, "gpus": gpus(16)},
            "1144 of intermediate_size .* set spec.parallelism to {tensor: 8, pipeline: 2}, which takes as many GPUs",
            id="fp8 over 16 ranks",
        ),
        pytest.param(
            {"parallelism": {"tensor": 61}, "gpus": gpus(1)},
            "80 doesn't divide over tensor 61: remove spec.parallelism",
            id="no split of as many ranks",
        ),
        pytest.param(
            {"parallelism": {"tensor": 1, "pipeline": 64}, "gpus": gpus(8)},
            r"32 groups .* too few for pipeline 64: set spec.parallelism to {tensor: 8, pipeline: 8}",
            id="more stages than pairs of layers",
        ),
    ],
)
def test_an_uneven_split_is_refused_with_one_that_is_even(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidTopology, match=told):
        plan_serving(spec(**fields))


def test_a_model_that_no_number_of_ranks_splits_is_refused() -> None:
    odd = SMALL | {"intermediateSize": 250}
    with pytest.raises(InvalidTopology, match="no number of ranks splits the model evenly: tensor 1 leaves 250"):
        plan_serving(spec(odd, quantization="fp8"))
    plan_serving(spec(odd, quantization="bf16"))
    narrow = SMALL | {"hiddenSize": 1288, "headDim": 80}
    with pytest.raises(InvalidTopology, match=r"hidden_size 1288 is no multiple of 16, .* on any number of ranks"):
        plan_serving(spec(narrow, quantization="fp8"))


def fields() -> st.SearchStrategy[dict[str, Any]]:
    splits = st.one_of(
        st.none(), st.fixed_dictionaries({"tensor": st.sampled_from([1, 2, 4, 8, 16]), "pipeline": st.integers(1, 4)})
    )
    return st.fixed_dictionaries(
        {
            "quantization": st.sampled_from(["bf16", "int8", "fp8"]),
            "parallelism": splits,
            "gpus": st.builds(lambda n, size: gpus(n, f"{size}Gi"), st.integers(1, 16), st.integers(1, 300)),
            "maxModelLen": st.integers(16, 1048576),
        }
    )


@given(fields=fields())
def test_every_change_that_is_advised_fits(fields: dict[str, Any]) -> None:
    asked = spec(**fields)
    try:
        plan_serving(asked)
    except DoesNotFit:
        changes = changes_that_fit(asked)
        assert changes
        for change in changes:
            assert plan_serving(change.spec).memory.fits
    except InvalidTopology:
        pass


@given(fields=fields(), more=st.integers(0, 100))
def test_more_memory_never_turns_fits_into_does_not_and_never_takes_more_gpus(
    fields: dict[str, Any], more: int
) -> None:
    try:
        before = plan_serving(spec(**fields))
    except Unplannable:
        return
    size = int(fields["gpus"]["memory"].removesuffix("Gi")) + more
    after = plan_serving(spec(**fields | {"gpus": fields["gpus"] | {"memory": f"{size}Gi"}}))
    assert after.topology.ranks <= before.topology.ranks
