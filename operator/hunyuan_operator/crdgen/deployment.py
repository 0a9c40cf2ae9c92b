"""The CustomResourceDefinition of HunyuanDeployment."""

from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.crdgen.definition import AGE, Definition, column, condition

_READY = condition("Ready")

DEPLOYMENT = Definition(
    resource=HunyuanDeployment,
    short_name="hyd",
    subresources={
        "scale": {
            "specReplicasPath": ".spec.groups",
            "statusReplicasPath": ".status.groups",
            "labelSelectorPath": ".status.selector",
        }
    },
    columns=(
        column("Ready", "string", f"{_READY}.status", "Whether every wanted group answers"),
        column("Reason", "string", f"{_READY}.reason", "Why it is ready, or not"),
        column("Groups", "integer", ".spec.groups", "Wanted groups"),
        column("Serving", "integer", ".status.readyGroups", "Groups that answer"),
        column("TP", "integer", ".status.plan.tensorParallel", "Tensor parallel ranks of a group"),
        column("PP", "integer", ".status.plan.pipelineParallel", "Pipeline parallel stages of a group"),
        column("Nodes", "integer", ".status.plan.nodes", "Pods of a group, one a node", priority=1),
        column("Quantization", "string", ".spec.quantization", "Type of the weights", priority=1),
        column("URL", "string", ".status.url", "Base of the OpenAI API inside the cluster", priority=1),
        AGE,
    ),
)
