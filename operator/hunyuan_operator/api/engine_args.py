"""``engine.extraArgs``: any option of vLLM's own, except those that the operator or the runtime sets."""

from typing import Annotated, Any

from pydantic import Field, JsonValue, WithJsonSchema

from hunyuan_operator.api.validation import Rule, rules

OWNED_OPTIONS: dict[str, str] = {
    "model": "spec.model",
    "tokenizer": "spec.model",
    "tokenizer-mode": "",
    "served-model-name": "spec.model.servedName",
    "quantization": "spec.quantization",
    "max-model-len": "spec.maxModelLen",
    "max-num-seqs": "spec.engine.maxNumSeqs",
    "gpu-memory-utilization": "spec.engine.gpuMemoryUtilization",
    "kv-cache-dtype": "spec.engine.kvCacheDtype",
    "tensor-parallel-size": "spec.parallelism.tensor",
    "pipeline-parallel-size": "spec.parallelism.pipeline",
    "distributed-executor-backend": "",
    "host": "",
    "port": "",
    "api-key": "",
    "trust-remote-code": "",
}
"""Option (vLLM's name, without dashes in front) → the field that sets it; empty when no field may."""

_TYPES = {"trust-remote-code": "boolean", "host": "string", "api-key": "string"}


def _refused(option: str, field: str) -> dict[str, Any]:
    """Schema of an option that must be absent; without a type (here: any scalar's) CEL would not see it."""
    message = f"is set by {field}" if field else "is the runtime's own and can't be set"
    kind: dict[str, Any] = {"x-kubernetes-int-or-string": True}
    if option in _TYPES:
        kind = {"type": _TYPES[option]}
    refusal = Rule(rule="false", message=f"{option} {message}", reason="FieldValueForbidden")
    return {**kind, "description": f"Not allowed here: {message}.", **rules(refusal)}


def spellings(option: str) -> list[str]:
    """The ways in which vLLM's parser would read the option; both are refused."""
    return list(dict.fromkeys([option, option.replace("-", "_")]))


ExtraArgs = Annotated[
    dict[str, JsonValue],
    Field(max_length=64),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 64,
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {
                name: _refused(option, field) for option, field in OWNED_OPTIONS.items() for name in spellings(option)
            },
        }
    ),
]
