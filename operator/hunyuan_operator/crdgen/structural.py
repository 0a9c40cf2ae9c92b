"""From pydantic's JSON schema to the structural schema that a CRD asks for.

The walk inlines references, unwraps ``X | None``, turns ``const`` into ``enum``, and copies the keywords that both
sides know. Everything else raises: a CRD that silently checked less than its model would be worse than none.
"""

from collections.abc import Mapping
from typing import Any

from hunyuan_operator.api.base import Model

Schema = dict[str, Any]

_COPIED = (
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)
"""In the order in which they are written."""
_WALKED = ("$ref", "anyOf", "const", "title", "description", "properties", "items", "additionalProperties")
_UNTYPED = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
_EXTENSION = "x-kubernetes-"


class Inexpressible(Exception):
    """A structural schema can't say what the model at this path says."""


def structural_schema(model: type[Model], *, defaults: bool) -> Schema:
    """``defaults`` says whether the API server fills in absent fields; a status must stay as it was written.

    Raises:
        Inexpressible: names the path and the keyword.

    """
    schema = model.model_json_schema(by_alias=True)
    return _Walk(schema.pop("$defs", {}), defaults=defaults).visit(schema, model.__name__)


class _Walk:
    def __init__(self, definitions: Mapping[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def visit(self, node: Schema, path: str) -> Schema:
        node = self._flat(node, path)
        unknown = [key for key in node if key not in _COPIED + _WALKED and not key.startswith(_EXTENSION)]
        if unknown:
            raise Inexpressible(f"{path}: {', '.join(unknown)}")
        if any(not float(node[key]).is_integer() for key in ("minimum", "maximum") if key in node):
            # The API server cuts it to a whole number where the value is one, so that 0 would satisfy 0.1.
            raise Inexpressible(f"{path}: a bound that is no whole number")
        if "type" not in node and not any(node.get(key) for key in _UNTYPED):
            raise Inexpressible(f"{path}: no type")
        out: Schema = {"description": _one_line(node["description"])} if "description" in node else {}
        out |= {key: node[key] for key in _COPIED if key in node}
        if not self._defaults:
            out.pop("default", None)
        elif "default" in out:
            out["default"] = _without_none(out["default"])
        out |= self._children(node, path)
        return out | {key: value for key, value in node.items() if key.startswith(_EXTENSION)}

    def _flat(self, node: Schema, path: str) -> Schema:
        """The node without ``$ref``, ``X | None`` and ``const``; what stands beside a reference wins."""
        if "$ref" in node:
            target = self._definitions[node["$ref"].removeprefix("#/$defs/")]
            return self._flat({**target, **_without(node, "$ref")}, path)
        if "anyOf" in node:
            options = [option for option in node["anyOf"] if option != {"type": "null"}]
            if len(options) != 1 or node.get("default") is not None:
                raise Inexpressible(f"{path}: anyOf")
            return self._flat({**options[0], **_without(node, "anyOf", "default")}, path)
        if "const" in node:
            return {**_without(node, "const"), "enum": [node["const"]]}
        return node

    def _children(self, node: Schema, path: str) -> Schema:
        out: Schema = {}
        if "properties" in node:
            out["properties"] = {
                name: self.visit(child, f"{path}.{name}") for name, child in node["properties"].items()
            }
        if "items" in node:
            out["items"] = self.visit(node["items"], f"{path}[]")
        if "additionalProperties" in node:
            if not isinstance(node["additionalProperties"], dict):
                raise Inexpressible(f"{path}: additionalProperties without a schema")
            out["additionalProperties"] = self.visit(node["additionalProperties"], f"{path}[*]")
        return out


def _without(node: Schema, *keys: str) -> Schema:
    return {key: value for key, value in node.items() if key not in keys}


def _without_none(value: Any) -> Any:
    """A default as YAML that people write: an absent optional field is absent, not null."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def _one_line(text: str) -> str:
    """``kubectl explain`` breaks lines itself; paragraphs stay."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
