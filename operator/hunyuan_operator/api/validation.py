"""What the API server checks beyond types and bounds: CEL rules, declared beside the models that they guard.

A rule is data. :mod:`hunyuan_operator.crdgen` copies it into the CRD as an ``x-kubernetes-validations`` entry and the
API server evaluates it. ``self`` is the value of the model or field that carries the rule. Beside a rule stands a
Python validator only where an object older than the rule could do harm, or not be understood.
Every string, list and map below such a value needs a maximum length, else the API server refuses the rule for its cost.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, WithJsonSchema

from hunyuan_operator.api.quantities import parse_quantity
from hunyuan_operator.api.times import parse_duration

VALIDATIONS = "x-kubernetes-validations"
INT_OR_STRING = "x-kubernetes-int-or-string"
DURATION = "^([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$"
"""What :func:`parse_duration` reads, within the range of CEL's ``duration()``."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One CEL expression that must be true.

    ``field`` is a path below ``self`` (such as ``.tensor``) that the error then names instead of ``self``.
    """

    rule: str
    message: str
    field: str = ""
    reason: Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"] = "FieldValueInvalid"

    def as_json(self) -> dict[str, JsonValue]:
        entry: dict[str, JsonValue] = {"rule": self.rule, "message": self.message, "reason": self.reason}
        return {**entry, "fieldPath": self.field} if self.field else entry


def rules(*declared: Rule) -> dict[str, Any]:
    """``json_schema_extra`` of a model or field that must obey these rules."""
    return {VALIDATIONS: [rule.as_json() for rule in declared]}


def list_map(*keys: str) -> dict[str, Any]:
    """``json_schema_extra`` of a list whose items are told apart, and merged, by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def _quantity(text: str) -> str:
    if parse_quantity(text) <= 0:
        raise ValueError("must be positive")
    return text


Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    AfterValidator(_quantity),
    WithJsonSchema(
        {
            INT_OR_STRING: True,
            "maxLength": 32,
            **rules(
                Rule(
                    rule="isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))",
                    message="must be a positive quantity, such as 8, 500m or 96Gi",
                )
            ),
        }
    ),
]
"""A Kubernetes quantity as text; a plain number in YAML is taken too."""


def _positive(number: float) -> float:
    if number <= 0:
        raise ValueError("must be above 0")
    return number


PositiveNumber = Annotated[
    float,
    AfterValidator(_positive),
    Field(json_schema_extra=rules(Rule(rule="self > 0.0", message="must be above 0"))),
]
"""Bounds that are no whole numbers are rules: a schema's are cut to whole ones where the value is one."""


def _duration(text: str) -> str:
    parse_duration(text)
    return text


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("must be relative, without '..'")
    return path


Duration = Annotated[
    str,
    AfterValidator(_duration),
    Field(
        max_length=20,
        json_schema_extra=rules(
            Rule(
                rule=f"self.matches('{DURATION}') && self != '' && duration(self) >= duration('1s')",
                message="must be a duration of at least 1s in whole hours, minutes and seconds, such as 90s or 1h30m",
            )
        ),
    ),
]

RelativePath = Annotated[
    str,
    AfterValidator(_inside),
    Field(
        max_length=1024,
        json_schema_extra=rules(
            Rule(rule="!self.startsWith('/')", message="must be relative to the volume's root: drop the leading '/'"),
            Rule(rule="!self.split('/').exists(part, part == '..')", message="must not contain '..'"),
        ),
    ),
]

ObjectName = Annotated[
    str,
    Field(
        max_length=253,
        json_schema_extra=rules(
            Rule(
                rule="self == '' || !format.dns1123Subdomain().validate(self).hasValue()",
                message="must be the name of a Kubernetes object: lower case letters, digits, '-' and '.'",
            )
        ),
    ),
]

ImageReference = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=rules(
            Rule(
                rule=r"self.matches('^[^\\s]*$')",
                message="must be an image reference, such as registry/name:tag, without spaces",
            )
        ),
    ),
]

ResourceName = Annotated[
    str,
    Field(
        max_length=253,
        json_schema_extra=rules(
            Rule(
                rule="self.contains('/') && !format.qualifiedName().validate(self).hasValue()",
                message="must be the qualified name of an extended resource, such as nvidia.com/gpu",
            )
        ),
    ),
]

InterfaceName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=15,
        json_schema_extra=rules(
            Rule(
                rule=r"self.matches('^[^\\s/:,]*$')",
                message="must be a network interface's name, such as eth0, or auto",
            )
        ),
    ),
]
"""At most 15 characters, as the kernel has it."""

LabelValue = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=rules(
            Rule(
                rule="!format.labelValue().validate(self).hasValue()",
                message="must be a label's value: letters, digits, '-', '_' and '.'",
            )
        ),
    ),
]

NodeSelector = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(
        max_length=32,
        json_schema_extra=rules(
            Rule(
                rule="self.all(key, !format.qualifiedName().validate(key).hasValue())",
                message="every key must be a label's name, such as topology.kubernetes.io/zone",
            ),
            Rule(
                rule="self.all(key, !format.labelValue().validate(self[key]).hasValue())",
                message="every value must be a label's value: letters, digits, '-', '_' and '.'",
            ),
        ),
    ),
]
