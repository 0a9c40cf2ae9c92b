"""What of a ServeConfig vLLM is told, as tables."""

from pathlib import PurePosixPath
from typing import Any

import pytest
from pydantic import JsonValue

from hunyuan_runtime.config import ServeConfig
from hunyuan_runtime.serve.engine_args import Checkpoint, command_line, engine_arguments
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


def test_a_single_rank_needs_no_ray_between_engine_and_model() -> None:
    alone = {"nodes": 1, "gpus_per_node": 1, "tensor_parallel": 1, "pipeline_parallel": 1}
    assert "--distributed-executor-backend=uni" in engine_arguments(config(**alone), PLAIN, "cuda")


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
        pytest.param(
            {"extra_args": {"compilation_config.cudagraph_mode": "NONE"}},
            PLAIN,
            "cuda",
            ["--compilation-config.cudagraph_mode=NONE"],
            id="one key of an option's JSON",
        ),
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


@pytest.mark.parametrize(
    ("written", "option"),
    [
        ("trust-remote-code", "trust-remote-code"),
        ("trust_remote_code", "trust-remote-code"),
        ("no-trust-remote-code", "no-trust-remote-code"),
        ("data_parallel-size", "data-parallel-size"),
        ("--model", "model"),
        ("model.a", "model"),
        *((name, name) for name in ("port", "nnodes", "config", "uds", "ssl-keyfile")),
    ],
)
def test_an_owned_option_is_refused_by_name(written: str, option: str) -> None:
    with pytest.raises(RuntimeFailure, match=f"engine.extraArgs: {option} is set by the runtime itself") as refused:
        engine_arguments(config(extra_args={written: "x"}), PLAIN, "cuda")
    assert refused.value.cause is Cause.ConfigInvalid


@pytest.mark.parametrize(
    ("extra_args", "told"),
    [
        ({"port=9": True}, "'port=9' is no option's name"),
        ({"seed 7 --port": 9}, "'seed 7 --port' is no option's name"),
        ({"": 1}, "'' is no option's name"),
        ({"compilation-config.a=1 --port": 9}, "is no option's name"),
        ({"cudagraph-capture-sizes": [1, "--port=9"]}, "'--port=9' in a list would be an option itself"),
        ({"cudagraph-capture-sizes": ["-tp=2"]}, "'-tp=2' in a list"),
    ],
)
def test_no_option_hides_in_another(extra_args: dict[str, Any], told: str) -> None:
    with pytest.raises(RuntimeFailure) as refused:
        engine_arguments(config(extra_args=extra_args), PLAIN, "cuda")
    assert refused.value.cause is Cause.ConfigInvalid
    assert told in str(refused.value)


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
