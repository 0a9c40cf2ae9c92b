"""What a HunyuanDeployment means when it is read; tests/apiserver has what the API server refuses."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.errors import InvalidSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def manifest(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "hy", "namespace": "ns", "uid": "u-1", "generation": 3}
    return {"metadata": metadata, "spec": {"model": {"pvc": {"claimName": "models"}}} | spec}


def test_a_model_source_is_enough() -> None:
    deployment = HunyuanDeployment.parse(manifest())
    spec = deployment.spec
    assert (deployment.name, deployment.namespace, deployment.uid, deployment.generation) == ("hy", "ns", "u-1", 3)
    assert (spec.quantization, spec.groups, spec.gpus.per_node, spec.suspend) == ("bf16", 1, 8, False)
    assert spec.parallelism is None
    assert deployment.status.group_statuses == []


def test_a_plain_number_is_a_quantity() -> None:
    assert HunyuanDeployment.parse(manifest(runtime={"cpu": 4})).spec.runtime.cpu == "4"


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert HunyuanDeployment.parse(manifest(rollout={"strategy": "Surge"})).spec.groups == 1


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        pytest.param(
            {"model": {}}, "spec.model: exactly one of pvc, image, huggingFace and fineTune must be set", id="no source"
        ),
        pytest.param(
            {"model": {"pvc": {"claimName": "models"}, "image": {"reference": "models:1"}}},
            "spec.model: exactly one of pvc, image, huggingFace and fineTune must be set",
            id="two sources",
        ),
        pytest.param(
            {"model": {"pvc": {"claimName": "models", "path": "a/../../b"}}},
            "spec.model.pvc.path: must be relative, without '..'",
            id="a path out of the volume",
        ),
        pytest.param(
            {"model": {"pvc": {"claimName": "models", "path": "/etc"}}},
            "spec.model.pvc.path: must be relative, without '..'",
            id="an absolute path",
        ),
        pytest.param(
            {"restart": {"backoff": {"initial": "soon"}}},
            "spec.restart.backoff.initial: 'soon' is not a duration such as 90s or 1h30m",
            id="not a duration",
        ),
        pytest.param(
            {"gpus": {"perNode": 0}}, "spec.gpus.perNode: Input should be greater than or equal to 1", id="bound"
        ),
    ],
)
def test_an_object_older_than_a_rule_is_refused_with_its_field(spec: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        HunyuanDeployment.parse(manifest(**spec))
    assert str(refused.value) == error


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.quantization: .*; spec\.maxModelLen: "):
        HunyuanDeployment.parse(manifest(quantization="int4", maxModelLen=1))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_read_and_have_no_unknown_field(path: Path) -> None:
    for resource in yaml.safe_load_all(path.read_text()):
        if resource["kind"] == "HunyuanDeployment":
            spec = HunyuanDeployment.parse(resource).spec.model_dump(by_alias=True, exclude_unset=True)
            assert spec == resource["spec"]
