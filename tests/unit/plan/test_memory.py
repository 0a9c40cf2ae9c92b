"""What the fullest GPU holds."""

from typing import Any

import pytest
from hunyuan_operator.plan.memory import BLOCK, RESERVE, Demand, GpuMemory, memory_on
from hunyuan_operator.plan.topology import Topology
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.specs import spec

GIB = 2**30
FP8_CACHE = {"kvCacheDtype": "fp8"}


def on(tensor: int, pipeline: int = 1) -> Topology:
    return Topology(nodes=1, gpus_per_node=tensor * pipeline, tensor_parallel=tensor, pipeline_parallel=pipeline)


def memory(layout: Topology, **fields: Any) -> GpuMemory:
    return memory_on(Demand.of(spec(**fields)), layout)


@pytest.mark.parametrize(
    ("quantization", "layout", "gigabytes"),
    [
        pytest.param("bf16", on(16), 48.6, id="published: 48.6"),
        pytest.param("bf16", on(8, 2), 48.7, id="the embedding is on the first and on the last stage"),
        pytest.param("bf16", on(8), 97.2, id="published: 97.2, and does not fit"),
        pytest.param("int8", on(8), 52.3, id="published: 52.2; the router and scales are on every rank"),
        pytest.param("fp8", on(8), 48.7, id="published: 48.7"),
    ],
)
def test_weights(quantization: str, layout: Topology, gigabytes: float) -> None:
    assert round(memory(layout, quantization=quantization).weights / 1e9, 1) == gigabytes


@pytest.mark.parametrize(
    ("layout", "engine", "expected"),
    [
        pytest.param(on(8), {}, 10_240, id="one head a rank"),
        pytest.param(on(16), {}, 10_240, id="the same beyond: heads are replicated"),
        pytest.param(on(8), FP8_CACHE, 5_120, id="fp8 halves it"),
        pytest.param(on(8, 2), {}, 5_120, id="a stage stores its own layers"),
        pytest.param(on(8, 3), {}, 3_520, id="the fullest of uneven stages: 11 of 32 groups"),
        pytest.param(on(1), {}, 81_920, id="all of it"),
    ],
)
def test_kv_bytes_of_a_token_on_a_gpu(layout: Topology, engine: dict[str, Any], expected: int) -> None:
    assert memory(layout, engine=engine, gpus={"memory": "2Ti"}).kv_bytes_per_token == expected


def test_what_is_usable_is_all_used() -> None:
    found = memory(on(8), quantization="fp8")
    assert found.usable == int(0.92 * 96 * GIB)
    assert found.weights + found.activations + found.reserve + found.kv_cache == found.usable
    assert found.reserve == RESERVE
    assert found.kv_tokens == found.kv_cache // 10_240 // BLOCK * BLOCK
    assert found.max_concurrency == found.kv_tokens / 10_240


def test_a_request_takes_whole_blocks() -> None:
    exact, more = (memory(on(8), quantization="fp8", maxModelLen=length) for length in (1600, 1601))
    assert more.max_concurrency == more.kv_tokens / 1616 < exact.max_concurrency


def test_no_gpu_gives_all_it_has() -> None:
    assert memory(on(8), engine={"gpuMemoryUtilization": 1.0}).usable == int(0.98 * 96 * GIB)


@pytest.mark.parametrize("name", ["kv-cache-memory-bytes", "kv_cache_memory_bytes"])
def test_a_cache_of_fixed_size_is_taken_as_it_is(name: str) -> None:
    found = memory(on(8), quantization="fp8", engine={"gpuMemoryUtilization": 0.1, "extraArgs": {name: GIB}})
    assert (found.kv_cache, found.fits) == (GIB, True)


def test_and_does_not_fit_when_there_is_less_room_or_it_is_too_small_for_a_request() -> None:
    too_large = memory(on(8), quantization="fp8", engine={"extraArgs": {"kv-cache-memory-bytes": 60 * GIB}})
    assert (too_large.kv_cache, too_large.fits) == (0, False)
    too_small = memory(on(8), quantization="fp8", engine={"extraArgs": {"kv-cache-memory-bytes": 10**6}})
    assert (too_small.kv_tokens, too_small.fits) == (96, False)


def test_weights_that_stay_in_the_hosts_memory_take_none_here() -> None:
    without, with_offload = (memory(on(8), engine={"extraArgs": extra}) for extra in ({}, {"cpu-offload-gb": 20}))
    assert without.weights - with_offload.weights == 20 * GIB
    assert (without.fits, with_offload.fits) == (False, True)


def test_larger_batches_need_more_activations() -> None:
    few, many = (
        memory(on(8), engine={"extraArgs": {"max-num-batched-tokens": tokens}}).activations for tokens in (2048, 16384)
    )
    assert 2 * few < many < 8 * few


layouts = st.builds(on, st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 32))
gibibytes = st.integers(1, 400)


@given(layout=layouts, some=gibibytes, more=gibibytes, quantization=st.sampled_from(["bf16", "int8", "fp8"]))
def test_more_memory_never_turns_fits_into_does_not(layout: Topology, some: int, more: int, quantization: str) -> None:
    smaller, larger = (
        memory(layout, quantization=quantization, gpus={"memory": f"{size}Gi"}) for size in (some, some + more)
    )
    assert smaller.fits <= larger.fits
    assert smaller.kv_tokens <= larger.kv_tokens


@given(layout=layouts, size=gibibytes)
def test_a_smaller_quantisation_never_leaves_less_room(layout: Topology, size: int) -> None:
    gpus = {"memory": f"{size}Gi"}
    tokens = [memory(layout, quantization=q, gpus=gpus).kv_tokens for q in ("bf16", "int8", "fp8")]
    assert tokens == sorted(tokens)


@given(tensor=st.sampled_from([1, 2, 4, 8, 16]), pipeline=st.integers(1, 16), size=gibibytes)
def test_another_stage_never_leaves_room_for_fewer_tokens(tensor: int, pipeline: int, size: int) -> None:
    fewer, more = (memory(on(tensor, stages), gpus={"memory": f"{size}Gi"}) for stages in (pipeline, 2 * pipeline))
    assert fewer.kv_tokens <= more.kv_tokens
