"""A status as the API shows it."""

from typing import Any

from hunyuan_operator.api.base import Model


def as_manifest(status: Model) -> dict[str, Any]:
    """What is empty is left out, except a condition's message, which metav1.Condition requires."""
    dump = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: value if name == "conditions" else _without_empty(value) for name, value in dump.items()}


def _without_empty(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_empty(field) for name, field in value.items() if field not in ("", [])}
    return value
