"""What of a ServeConfig vLLM is told, as tables."""

from pathlib import PurePosixPath
from typing import Any

import pytest
from hunyuan_operator.api.engine_args import OWNED_OPTIONS
from pydantic import JsonValue

from hunyuan_runtime.config import ServeConfig
from hunyuan_runtime.serve.engine_args import OWNED, Checkpoint, command_line, engine_arguments
from hunyuan_runtime.termination import Cause, RuntimeFailure

PLAIN = Checkpoint(tokenizer=PurePosixPath("/models/large"), quantized=False)
QUANTIZED = Checkpoint(tokenizer=PurePosixPath("/models/large"), quantized=True)


def config(**changes: Any) -> ServeConfig:
    fields: dict[str, Any] = {
        "model_path": "/models/large",
        "served_name": "hunyuan-large",
        "max_model_len": 10240,
        "nodes": 2,
        "gpus_per_node": 8,
        "tensor_parallel": 8,
        "pipeline_parallel": 2,
        "max_num_seqs": 8,
        "gpu_memory_utilization": 0.92,
    }
    return ServeConfig.model_validate(fields | changes)


def test_a_plain_configuration_on_gpus() -> None:
    assert engine_arguments(config(), PLAIN, "cuda") == [
        "--model=/models/large",
        "--tokenizer=/models/large",
        "--tokenizer-mode=hunyuan",
        "--served-model-name=hunyuan-large",
        "--dtype=bfloat16",
        "--max-model-len=10240",
        "--max-num-seqs=8",
        "--gpu-memory-utilization=0.92",
        "--kv-cache-dtype=auto",
        "--tensor-parallel-size=8",
        "--pipeline-parallel-size=2",
        "--distributed-executor-backend=ray",
    ]


@pytest.mark.parametrize(
    ("changes", "checkpoint", "device", "expected"),
    [
        pytest.param({}, PLAIN, "cpu", ["--enforce-eager"], id="a CPU runs eagerly"),
        pytest.param({"quantization": "fp8"}, PLAIN, "cuda", ["--quantization=fp8"], id="fp8"),
        pytest.param(
            {"quantization": "int8"}, PLAIN, "cuda", ["--quantization=int8_per_channel_weight_only"], id="int8"
        ),
        pytest.param({"kv_cache_dtype": "fp8"}, PLAIN, "cuda", ["--kv-cache-dtype=fp8"], id="fp8 cache"),
        pytest.param(
            {"extra_args": {"kv-cache-memory-bytes": 5}}, PLAIN, "cpu", ["--kv-cache-memory-bytes=5"], id="users win"
        ),
        pytest.param({"extra_args": {"max_logprobs": 3}}, PLAIN, "cuda", ["--max-logprobs=3"], id="underscores"),
    ],
)
def test_what_a_field_adds(changes: dict[str, Any], checkpoint: Checkpoint, device: str, expected: list[str]) -> None:
    arguments = engine_arguments(config(**changes), checkpoint, device)
    assert set(expected) <= set(arguments)
    names = [argument.partition("=")[0] for argument in arguments]
    assert len(names) == len(set(names)), "no option is given twice"


def test_a_checkpoint_that_is_quantised_already_says_itself_how() -> None:
    arguments = engine_arguments(config(quantization="fp8"), QUANTIZED, "cuda")
    assert not [argument for argument in arguments if argument.startswith("--quantization")]


@pytest.mark.parametrize("quantization", ["int8", "fp8"])
def test_a_cpu_has_no_kernels_for_quantised_weights(quantization: str) -> None:
    with pytest.raises(RuntimeFailure, match=f"quantization {quantization} needs a GPU") as refused:
        engine_arguments(config(quantization=quantization), PLAIN, "cpu")
    assert refused.value.cause is Cause.QuantizationUnsupported


@pytest.mark.parametrize("option", ["trust-remote-code", "trust_remote_code", "--model", "port"])
def test_an_owned_option_is_refused_by_name(option: str) -> None:
    with pytest.raises(RuntimeFailure, match=option.lstrip("-").replace("_", "-")) as refused:
        engine_arguments(config(extra_args={option: "x"}), PLAIN, "cuda")
    assert refused.value.cause is Cause.ConfigInvalid


def test_the_runtime_refuses_all_that_the_api_refuses() -> None:
    assert set(OWNED_OPTIONS) <= OWNED


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ["--x"]),
        (False, ["--no-x"]),
        (None, []),
        (3, ["--x=3"]),
        (0.5, ["--x=0.5"]),
        ("-1", ["--x=-1"]),
        ({"a": [1, "ü"]}, ["--x", '{"a": [1, "ü"]}']),
        (["a", 2], ["--x", "a", "2"]),
        ([], ["--x"]),
    ],
)
def test_a_value_in_vllms_spelling(value: JsonValue, words: list[str]) -> None:
    assert command_line({"x": value}) == words
