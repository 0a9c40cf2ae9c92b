"""ServeConfig → vLLM's command line, as strings for vLLM's own parser, so that its checks are the only ones."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from pydantic import JsonValue

from hunyuan_runtime.config import Quantization, ServeConfig
from hunyuan_runtime.termination import Cause, RuntimeFailure

Arguments = Mapping[str, JsonValue]

ONLINE_QUANTIZATION: dict[Quantization, str] = {"int8": "int8_per_channel_weight_only", "fp8": "fp8"}
"""vLLM's name for quantising BF16 weights while they are loaded."""

OWNED = frozenset(
    {
        "model", "tokenizer", "tokenizer-mode", "revision", "tokenizer-revision", "code-revision", "hf-config-path",
        "hf-token", "served-model-name", "quantization", "max-model-len", "max-num-seqs", "gpu-memory-utilization",
        "device-memory-utilization", "kv-cache-dtype", "trust-remote-code",
        "tensor-parallel-size", "pipeline-parallel-size", "prefill-context-parallel-size", "data-parallel-size",
        "distributed-executor-backend", "nnodes", "node-rank", "master-addr", "master-port", "headless", "device-ids",
        "worker-cls", "enable-elastic-ep", "elastic-ep-max-dp-size", "data-parallel-rank", "data-parallel-start-rank",
        "data-parallel-size-local", "data-parallel-address", "data-parallel-rpc-port", "data-parallel-backend",
        "data-parallel-hybrid-lb", "data-parallel-external-lb", "data-parallel-multi-port-external-lb",
        "data-parallel-supervisor-port", "dp-supervisor-probe-interval-s", "dp-supervisor-probe-timeout-s",
        "dp-supervisor-probe-failure-threshold",
        "host", "port", "uds", "grpc", "grpc-port", "api-server-count", "api-key", "middleware", "ssl-keyfile",
        "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs", "ssl-ciphers", "enable-ssl-refresh",
        "h11-max-incomplete-event-size", "h11-max-header-count",
        "disable-log-stats", "config", "tool-parser-plugin", "reasoning-parser-plugin",
    }
)  # fmt: skip
"""Options that come from the other fields or from the runtime; the API refuses them too."""

CPU_KV_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What the engine's arguments depend on beside the configuration, found by the checks."""

    tokenizer: PurePath
    quantized: bool
    """config.json holds a ``quantization_config``, which the engine follows by itself."""


def engine_arguments(config: ServeConfig, checkpoint: Checkpoint, device: str) -> list[str]:
    """The whole argument list for ``device`` (``cpu`` or ``cuda``).

    Raises:
        RuntimeFailure: ``ConfigInvalid`` names an option in ``extra_args`` that isn't the user's to set;
            ``QuantizationUnsupported`` for a device that lacks the kernels.

    """
    extra = {_option(name): value for name, value in config.extra_args.items()}
    arguments: dict[str, JsonValue] = {
        "model": config.model_path,
        "tokenizer": str(checkpoint.tokenizer),
        "tokenizer-mode": "hunyuan",  # chats whose contents can't forge control tokens
        "served-model-name": config.served_name,
        "dtype": "bfloat16",
        "max-model-len": config.max_model_len,
        "max-num-seqs": config.max_num_seqs,
        "gpu-memory-utilization": config.gpu_memory_utilization,
        "kv-cache-dtype": config.kv_cache_dtype,
        "tensor-parallel-size": config.tensor_parallel,
        "pipeline-parallel-size": config.pipeline_parallel,
        "distributed-executor-backend": "ray" if config.world_size > 1 else "uni",
    }
    if device == "cpu":
        arguments |= {"enforce-eager": True, "kv-cache-memory-bytes": CPU_KV_CACHE_BYTES}
    return command_line({**arguments, **_quantization(config, checkpoint, device), **extra})


def _option(name: str) -> str:
    """In the parser's spelling; what follows a dot is a key of the option's JSON."""
    option, *keys = name.lstrip("-").split(".")
    option = option.replace("_", "-")
    if not re.fullmatch("[a-z0-9-]+", option) or not all(re.fullmatch(r"[\w-]+\+?", key) for key in keys):
        raise RuntimeFailure(Cause.ConfigInvalid, f"engine.extraArgs: {name!r} is no option's name")
    if {option, option.removeprefix("no-")} & OWNED:
        raise RuntimeFailure(Cause.ConfigInvalid, f"engine.extraArgs: {option} is set by the runtime itself")
    return ".".join([option, *keys])


def _quantization(config: ServeConfig, checkpoint: Checkpoint, device: str) -> Arguments:
    if config.quantization == "bf16":
        return {}
    if device == "cpu":
        raise RuntimeFailure(
            Cause.QuantizationUnsupported,
            f"quantization {config.quantization} needs a GPU; a CPU can serve bf16 only",
        )
    return {} if checkpoint.quantized else {"quantization": ONLINE_QUANTIZATION[config.quantization]}


def command_line(arguments: Arguments) -> list[str]:
    """``--name value`` for each; ``true`` is the bare flag, ``false`` is ``--no-name``, null leaves the option out."""
    words: list[str] = []
    for name, value in arguments.items():
        match value:
            case None:
                continue
            case True:
                words.append(f"--{name}")
            case False:
                words.append(f"--no-{name}")
            case dict():
                words += [f"--{name}", json.dumps(value, ensure_ascii=False)]
            case [*items]:
                words += [f"--{name}", *_texts(items)]
            case _:
                # One word, so that a value with a leading dash is not read as an option.
                words.append(f"--{name}={value}")
    return words


def _texts(items: Sequence[JsonValue]) -> list[str]:
    for item in items:
        if isinstance(item, str) and item.startswith("-"):
            raise RuntimeFailure(Cause.ConfigInvalid, f"engine.extraArgs: {item!r} in a list would be an option itself")
    return [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
