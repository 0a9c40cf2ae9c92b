"""The CustomResourceDefinition of HunyuanDeployment: names, columns and subresources around the models' schemas."""

from typing import Any

from hunyuan_operator.api.deployment import HunyuanDeployment, HunyuanDeploymentSpec, HunyuanDeploymentStatus
from hunyuan_operator.api.names import GROUP, LONGEST_NAME, VERSION
from hunyuan_operator.api.validation import Rule, rules
from hunyuan_operator.crdgen.structural import Schema, structural_schema

KIND = "HunyuanDeployment"
PLURAL = "hunyuandeployments"

_NAME_RULES = rules(
    Rule(
        rule=f"self.metadata.name.size() <= {LONGEST_NAME}",
        message=f"must be at most {LONGEST_NAME} characters: pods append group, attempt and rank; host names end at 63",
        field=".metadata.name",
    ),
    Rule(
        rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message="must be a Service's name: lower case letters, digits and '-', a letter first",
        field=".metadata.name",
    ),
)


def deployment_crd() -> dict[str, Any]:
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["hyd"],
        "categories": ["all", "hunyuan"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [_version()]},
    }


def _version() -> dict[str, Any]:
    scale = {
        "specReplicasPath": ".spec.groups",
        "statusReplicasPath": ".status.groups",
        "labelSelectorPath": ".status.selector",
    }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": _columns(),
        "subresources": {"status": {}, "scale": scale},
        "schema": {"openAPIV3Schema": _schema()},
    }


def _schema() -> Schema:
    metadata = {"type": "object", "properties": {"name": {"type": "string"}}}
    return {
        "type": "object",
        "description": HunyuanDeployment.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata,
            "spec": structural_schema(HunyuanDeploymentSpec, defaults=True),
            "status": structural_schema(HunyuanDeploymentStatus, defaults=False),
        },
        **_NAME_RULES,
    }


def _columns() -> list[dict[str, Any]]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    return [
        _column("Ready", "string", f"{ready}.status", "Whether every wanted group answers"),
        _column("Reason", "string", f"{ready}.reason", "Why it is ready, or not"),
        _column("Groups", "integer", ".spec.groups", "Wanted groups"),
        _column("Serving", "integer", ".status.readyGroups", "Groups that answer"),
        _column("TP", "integer", ".status.plan.tensorParallel", "Tensor parallel ranks of a group"),
        _column("PP", "integer", ".status.plan.pipelineParallel", "Pipeline parallel stages of a group"),
        _column("Nodes", "integer", ".status.plan.nodes", "Pods of a group, one a node") | {"priority": 1},
        _column("Quantization", "string", ".spec.quantization", "Type of the weights") | {"priority": 1},
        _column("URL", "string", ".status.url", "Base of the OpenAI API inside the cluster") | {"priority": 1},
        _column("Age", "date", ".metadata.creationTimestamp", "Time since it was created"),
    ]


def _column(name: str, kind: str, path: str, description: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, "description": description}
