"""From models to structural schemas: what is said the same, what is said otherwise, and what is refused."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from hunyuan_operator.api.base import Model
from hunyuan_operator.api.deployment import HunyuanDeploymentSpec, HunyuanDeploymentStatus
from hunyuan_operator.crdgen.structural import Inexpressible, structural_schema
from pydantic import ConfigDict, Field, JsonValue


class Inner(Model):
    """Inner things."""

    size: int = Field(default=2, ge=1, le=3, description="How big")


class Outer(Model):
    """A first paragraph
    of two lines.

    A second one.
    """

    inner: Inner = Field(default=Inner(), description="The inner one")
    maybe: Inner | None = None
    kind: Literal["a"] = "a"
    long_name: dict[str, Annotated[str, Field(max_length=5)]] = Field(description="By name", max_length=4)
    items: list[Inner] = Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})


SIZE = {"description": "How big", "type": "integer", "default": 2, "minimum": 1, "maximum": 3}

EXPECTED: dict[str, Any] = {
    "description": "A first paragraph of two lines.\n\nA second one.",
    "type": "object",
    "required": ["longName", "items"],
    "properties": {
        "inner": {
            "description": "The inner one",
            "type": "object",
            "default": {"size": 2},
            "properties": {"size": SIZE},
        },
        "maybe": {"description": "Inner things.", "type": "object", "properties": {"size": SIZE}},
        "kind": {"type": "string", "default": "a", "enum": ["a"]},
        "longName": {
            "description": "By name",
            "type": "object",
            "maxProperties": 4,
            "additionalProperties": {"type": "string", "maxLength": 5},
        },
        "items": {
            "type": "array",
            "items": {"description": "Inner things.", "type": "object", "properties": {"size": SIZE}},
            "x-kubernetes-list-type": "atomic",
        },
    },
}


def test_references_options_constants_and_bounds_become_structural() -> None:
    assert structural_schema(Outer, defaults=True) == EXPECTED


def test_without_defaults_nothing_is_filled_in() -> None:
    schema = structural_schema(Outer, defaults=False)
    assert not [path for path, node in fields(schema) if "default" in node]
    assert schema["required"] == EXPECTED["required"]


class Forbids(Model):
    model_config = ConfigDict(extra="forbid")


class Exclusive(Model):
    field: int = Field(gt=0)


class Fractional(Model):
    field: float = Field(ge=0.1)


class Tuple(Model):
    field: tuple[int, str]


class Union(Model):
    field: int | str


class Anything(Model):
    field: JsonValue


class AnyMap(Model):
    field: dict[str, JsonValue]


class Nested(Model):
    deeper: list[Exclusive]


@pytest.mark.parametrize(
    ("model", "where"),
    [
        (Forbids, "Forbids: additionalProperties without a schema"),
        (Exclusive, "Exclusive.field: exclusiveMinimum"),
        (Fractional, "Fractional.field: a bound that is no whole number"),
        (Tuple, "Tuple.field: prefixItems"),
        (Union, "Union.field: anyOf"),
        (Anything, "Anything.field: no type"),
        (AnyMap, r"AnyMap.field\[\*\]: no type"),
        (Nested, r"Nested.deeper\[\].field: exclusiveMinimum"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_a_structural_schema_cannot_say_is_refused_with_its_path(model: type[Model], where: str) -> None:
    with pytest.raises(Inexpressible, match=where):
        structural_schema(model, defaults=True)


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


@pytest.mark.parametrize("model", [HunyuanDeploymentSpec, HunyuanDeploymentStatus])
def test_kubectl_explain_has_a_text_for_every_field(model: type[Model]) -> None:
    silent = [path for path, node in fields(structural_schema(model, defaults=True)) if not node.get("description")]
    assert not silent
