"""``engine.extraArgs``: any option of vLLM's own, except those that the operator or the runtime sets."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema

from hunyuan_operator.api.validation import Rule, rules

_NOBODYS = (
    "tokenizer-mode", "hf-config-path", "code-revision", "trust-remote-code",
    # Ray deals the ranks out, and the plan says how many there are.
    "distributed-executor-backend", "nnodes", "node-rank", "master-addr", "master-port", "headless", "device-ids",
    "worker-cls", "prefill-context-parallel-size", "enable-elastic-ep", "elastic-ep-max-dp-size",
    "data-parallel-rank", "data-parallel-start-rank", "data-parallel-size-local", "data-parallel-address",
    "data-parallel-rpc-port", "data-parallel-backend", "data-parallel-hybrid-lb", "data-parallel-external-lb",
    "data-parallel-multi-port-external-lb", "data-parallel-supervisor-port", "dp-supervisor-probe-interval-s",
    "dp-supervisor-probe-timeout-s", "dp-supervisor-probe-failure-threshold",
    # One front door, whose server is the runtime's: these would do nothing, or open another one beside it.
    "host", "port", "uds", "grpc", "grpc-port", "api-server-count", "api-key", "middleware", "ssl-keyfile",
    "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs", "ssl-ciphers", "enable-ssl-refresh",
    "h11-max-incomplete-event-size", "h11-max-header-count",
    # Whether the engine lives is read from its statistics.
    "disable-log-stats",
    # A file of further options, and code from a path, which may be the model's volume.
    "config", "tool-parser-plugin", "reasoning-parser-plugin",
)  # fmt: skip

OWNED_OPTIONS: dict[str, str] = {
    "model": "spec.model",
    "tokenizer": "spec.model",
    "revision": "spec.model",
    "tokenizer-revision": "spec.model",
    "served-model-name": "spec.model.servedName",
    "hf-token": "spec.model.huggingFace.tokenSecret",
    "quantization": "spec.quantization",
    "max-model-len": "spec.maxModelLen",
    "max-num-seqs": "spec.engine.maxNumSeqs",
    "gpu-memory-utilization": "spec.engine.gpuMemoryUtilization",
    "device-memory-utilization": "spec.engine.gpuMemoryUtilization",
    "kv-cache-dtype": "spec.engine.kvCacheDtype",
    "tensor-parallel-size": "spec.parallelism.tensor",
    "pipeline-parallel-size": "spec.parallelism.pipeline",
    "data-parallel-size": "spec.groups",
    **dict.fromkeys(_NOBODYS, ""),
}
"""Option (vLLM's name, without dashes in front) → the field that sets it; empty when no field may."""

FLAGS = frozenset(
    {
        "trust-remote-code", "headless", "grpc", "disable-log-stats", "enable-ssl-refresh", "enable-elastic-ep",
        "data-parallel-hybrid-lb", "data-parallel-external-lb", "data-parallel-multi-port-external-lb",
    }
)  # fmt: skip
"""Of these, those that take no value."""


def _why(option: str) -> str:
    field = OWNED_OPTIONS[option]
    return f"{option} is set by {field}" if field else f"{option} is the runtime's own and can't be set"


def _refused(option: str) -> dict[str, Any]:
    """Schema of an option that must be absent; without a type CEL would not see it."""
    kind: dict[str, Any] = {"type": "boolean"} if option in FLAGS else {"x-kubernetes-int-or-string": True}
    refusal = Rule(rule="false", message=_why(option), reason="FieldValueForbidden")
    return {**kind, "description": f"Not allowed here: {_why(option).removeprefix(f'{option} ')}.", **rules(refusal)}


def spellings(option: str) -> list[str]:
    """The usual ways to write it; the API server refuses both."""
    return list(dict.fromkeys([option, option.replace("-", "_")]))


def _allowed(options: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse the owned ones however they are written: ``--a_b``, ``no-a-b`` and ``a-b.key`` are ``a-b`` too."""
    for name in options:
        option = name.lstrip("-").partition(".")[0].replace("_", "-")
        for owned in (option, option.removeprefix("no-")):
            if owned in OWNED_OPTIONS:
                raise ValueError(_why(owned))
    return options


ExtraArgs = Annotated[
    dict[str, JsonValue],
    AfterValidator(_allowed),
    Field(max_length=64),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 64,
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {name: _refused(option) for option in OWNED_OPTIONS for name in spellings(option)},
        }
    ),
]
