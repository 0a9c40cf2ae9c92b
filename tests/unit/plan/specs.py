"""Specs for the planner's tests."""

from typing import Any

from hunyuan_operator.api.deployment import HunyuanDeploymentSpec

SMALL: dict[str, Any] = {
    "numHiddenLayers": 4,
    "hiddenSize": 1280,
    "intermediateSize": 256,
    "vocabSize": 1024,
    "numAttentionHeads": 16,
}
"""Of another shape than Hunyuan-Large."""


def spec(architecture: dict[str, Any] | None = None, **fields: Any) -> HunyuanDeploymentSpec:
    model: dict[str, Any] = {"pvc": {"claimName": "models"}, "architecture": architecture}
    return HunyuanDeploymentSpec.model_validate({"model": model} | fields)
