"""Tokens a second at best, against the same arithmetic done by hand."""

from typing import Any

import pytest
from hunyuan_operator.plan.memory import Demand
from hunyuan_operator.plan.roofline import GPUS, decode_tokens_per_second, prefill_tokens_per_second
from hunyuan_operator.plan.topology import Topology
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.specs import spec

H20 = GPUS["h20"]


def on(tensor: int, pipeline: int = 1) -> Topology:
    return Topology(nodes=1, gpus_per_node=tensor * pipeline, tensor_parallel=tensor, pipeline_parallel=pipeline)


def decode(layout: Topology, streams: int = 1, context: int = 2048, **fields: Any) -> float:
    return decode_tokens_per_second(Demand.of(spec(**fields)), layout, H20, streams=streams, context=context)


def test_one_stream_reads_the_active_weights_once_a_token() -> None:
    """51.32 billion of two bytes over 16 GPUs are 6.4 GB, read at 4.0 TB/s."""
    assert decode(on(16), context=0) == pytest.approx(4.0e12 / (51.32e9 * 2 / 16), rel=0.01)
    assert decode(on(16)) == pytest.approx(620, rel=0.02)


def test_pipeline_stages_of_one_batch_work_one_after_the_other() -> None:
    assert decode(on(8, 2), context=0) == pytest.approx(decode(on(8), context=0), rel=1e-3)


@pytest.mark.parametrize(
    ("quantization", "bytes_read"),
    [
        pytest.param("int8", 51.32e9 * 2 - 359.87e9 / 16, id="one of 16 experts in one byte, the rest in two"),
        pytest.param("fp8", 51.32e9 + 0.826e9, id="all in one byte but the head"),
    ],
)
def test_smaller_weights_are_read_sooner(quantization: str, bytes_read: float) -> None:
    assert decode(on(8), context=0, quantization=quantization) == pytest.approx(4.0e12 * 8 / bytes_read, rel=0.01)


def test_every_layer_reads_the_cache_that_two_of_them_share() -> None:
    seconds = 1 / decode(on(8), context=100_000) - 1 / decode(on(8), context=0)
    assert seconds == pytest.approx(100_000 * 163_840 / 8 / 4.0e12, rel=1e-3)


def test_many_streams_read_all_experts() -> None:
    streams = 64
    shared = 51.32e9 - 359.87e9 / 16
    touched = shared + 359.87e9 * (1 - (15 / 16) ** streams)
    expected = streams * 8 * 4.0e12 / (2 * touched)
    assert decode(on(8), streams=streams, context=0) == pytest.approx(expected, rel=0.01)


def test_prefill_is_bound_by_operations() -> None:
    """Two for each active weight but the head's, which only the last token needs."""
    prompt = 8192
    operations = 2 * (51.32e9 - 0.826e9) + 4 * prompt / 2 * 6400 * 64
    found = prefill_tokens_per_second(Demand.of(spec()), on(8), H20, prompt=prompt)
    assert found == pytest.approx(8 * 148e12 / operations, rel=0.01)


def test_fp8_multiplies_twice_as_fast_and_int8_weights_as_bf16() -> None:
    bf16, int8, fp8 = (
        prefill_tokens_per_second(Demand.of(spec(quantization=q)), on(8), H20, prompt=8192)
        for q in ("bf16", "int8", "fp8")
    )
    assert int8 == bf16
    assert fp8 == pytest.approx(2 * bf16)


@given(streams=st.integers(1, 500), more=st.integers(1, 500), context=st.integers(0, 100_000))
def test_more_streams_never_give_fewer_tokens_in_all(streams: int, more: int, context: int) -> None:
    assert decode(on(8), streams + more, context) >= decode(on(8), streams, context) * 0.999999
