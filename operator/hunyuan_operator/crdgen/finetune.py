"""The CustomResourceDefinition of HunyuanFineTune."""

from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.crdgen.definition import AGE, Definition, column, condition

FINE_TUNE = Definition(
    resource=HunyuanFineTune,
    short_name="hyft",
    columns=(
        column("Ready", "string", f"{condition('Ready')}.status", "Whether the result can be used"),
        column("Stage", "string", ".status.stage", "Stage that runs, or is next"),
        column("State", "string", ".status.state", "How it stands"),
        column("Step", "integer", ".status.progress.step", "Optimizer steps done"),
        column("Steps", "integer", ".spec.training.maxSteps", "Optimizer steps wanted"),
        column("Loss", "number", ".status.progress.loss", "Of the last logged step"),
        column("ETA", "string", ".status.progress.estimatedFinish", "When the stage is done", priority=1),
        column("Method", "string", ".spec.method", "What is trained", priority=1),
        column("Nodes", "integer", ".spec.nodes", "Pods that train together", priority=1),
        column("Result", "string", ".status.result.path", "Folder of the tuned model", priority=1),
        AGE,
    ),
)
