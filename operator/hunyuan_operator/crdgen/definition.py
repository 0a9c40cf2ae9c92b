"""What every CustomResourceDefinition here has in common: names, one version, a status, rules for the name."""

from dataclasses import dataclass, field
from typing import Any

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.names import GROUP, LONGEST_NAME, VERSION
from hunyuan_operator.api.resource import Resource
from hunyuan_operator.api.validation import Rule, rules
from hunyuan_operator.crdgen.structural import Schema, structural_schema

Column = dict[str, Any]

_NAME_RULES = rules(
    Rule(
        rule=f"self.metadata.name.size() <= {LONGEST_NAME}",
        message=f"must be at most {LONGEST_NAME} characters: pods append attempt and rank; host names end at 63",
        field=".metadata.name",
    ),
    Rule(
        rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message="must be a Service's name: lower case letters, digits and '-', a letter first",
        field=".metadata.name",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """``resource`` gives the kind by its name, and the schema."""

    resource: type[Resource]
    short_name: str
    columns: tuple[Column, ...]
    subresources: dict[str, Any] = field(default_factory=dict)

    def crd(self) -> dict[str, Any]:
        kind = self.resource.__name__
        plural = f"{kind.lower()}s"
        names = {
            "kind": kind,
            "listKind": f"{kind}List",
            "plural": plural,
            "singular": kind.lower(),
            "shortNames": [self.short_name],
            "categories": ["all", "hunyuan"],
        }
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [self._version()]},
        }

    def _version(self) -> dict[str, Any]:
        return {
            "name": VERSION,
            "served": True,
            "storage": True,
            "additionalPrinterColumns": list(self.columns),
            "subresources": {"status": {}, **self.subresources},
            "schema": {"openAPIV3Schema": self._schema()},
        }

    def _schema(self) -> Schema:
        metadata = {"type": "object", "properties": {"name": {"type": "string"}}}
        return {
            "type": "object",
            "description": self.resource.__doc__,
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": metadata,
                "spec": structural_schema(self._part("spec"), defaults=True),
                "status": structural_schema(self._part("status"), defaults=False),
            },
            **_NAME_RULES,
        }

    def _part(self, name: str) -> type[Model]:
        part = self.resource.model_fields[name].annotation
        assert isinstance(part, type)
        assert issubclass(part, Model)
        return part


def column(name: str, kind: str, path: str, description: str, priority: int = 0) -> Column:
    """A ``priority`` of 1 is for ``kubectl get -o wide``."""
    told = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**told, "priority": priority} if priority else told


def condition(kind: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")]'


AGE = column("Age", "date", ".metadata.creationTimestamp", "Time since it was created")
