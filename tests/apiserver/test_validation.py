"""What the API server takes and refuses as a HunyuanDeployment; every refusal names the field and says what is wrong.

Each rule of the CRD has a refused example, and the field that carries it an accepted one:
:func:`test_every_rule_has_both_examples` keeps it so.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hunyuan_operator.api.engine_args import FLAGS, OWNED_OPTIONS, spellings
from hunyuan_operator.crdgen.deployment import DEPLOYMENT

from tests import cluster as testbed
from tests import stack
from tests.apiserver import examples
from tests.apiserver.examples import (
    NAME_CHARACTERS,
    NAME_LENGTH,
    OBJECT_NAME,
    PVC,
    QUANTITY,
    RESOURCE,
    Resource,
    expect_refusal,
    hub,
    missing_examples,
    pvc,
    try_out,
)

pytestmark = pytest.mark.apiserver

MODEL = {"pvc": PVC}
LAYOUT = "tensor x pipeline must be a multiple of gpus.perNode, or less than it"
EXCLUSIVE = "pvc, image, huggingFace and fineTune exclude each other: keep one of them"


def hyd(name: str = "hy", **spec: Any) -> Resource:
    """A HunyuanDeployment that is right but for what is given."""
    return {
        "apiVersion": "hunyuan.dev/v1alpha1",
        "kind": "HunyuanDeployment",
        "metadata": {"name": name},
        "spec": {"model": MODEL} | spec,
    }


ACCEPTED = {
    "the least": hyd(),
    "the longest name": hyd(name="h" * 40),
    "a name of one letter": hyd(name="h"),
    "numbers as quantities": hyd(gpus={"memory": 96000000000}, runtime={"cpu": 8}),
    "fractions as quantities": hyd(
        gpus={"memory": "1.5Gi"}, runtime={"cpu": "500m", "memory": "1e9"} | {"sharedMemory": 500000000}
    ),
    "claimed devices": hyd(gpus={"resourceClaimTemplate": "eight-gpus"}),
    "another device": hyd(gpus={"resourceName": "amd.com/gpu"}),
    "ranks on two nodes": hyd(gpus={"perNode": 8}, parallelism={"tensor": 8, "pipeline": 2}),
    "fewer ranks than GPUs": hyd(gpus={"perNode": 8}, parallelism={"tensor": 3}),
    "vLLM's options": hyd(
        engine={"extraArgs": {"enable-prefix-caching": True, "seed": 7, "hf-overrides": {"a": [1]}, "served": "x"}}
    ),
    "how the model is read, and what browsers may do": hyd(
        engine={"extraArgs": {"load-format": "safetensors", "allowed-origins": ["*"], "root-path": "/hunyuan"}}
    ),
    "the result of a fine-tune": hyd(model={"fineTune": {"name": "car"}, "servedName": "car"}),
    "no groups": hyd(groups=0),
    "all that the engine has": hyd(
        engine={"maxNumSeqs": 4096, "gpuMemoryUtilization": 1, "kvCacheDtype": "fp8"},
        quantization="fp8",
        maxModelLen=1048576,
    ),
    **{name: hyd(**spec) for name, spec in examples.ACCEPTED.items()},
}

OWNED = [
    (
        hyd(engine={"extraArgs": {spelling: option in FLAGS or "x"}}),
        f"spec.engine.extraArgs.{spelling}",
        f"{option} is set by {field}" if field else f"{option} is the runtime's own and can't be set",
    )
    for option, field in OWNED_OPTIONS.items()
    for spelling in spellings(option)
]

REFUSED: list[tuple[Resource, str, str]] = [
    (hyd(name="h" * 41), "metadata.name", NAME_LENGTH),
    (hyd(name="hy.large"), "metadata.name", NAME_CHARACTERS),
    (hyd(name="7b"), "metadata.name", NAME_CHARACTERS),
    (hyd(model=None), "spec.model", "Required value"),
    (hyd(model={}), "spec.model", "has no source: set pvc, image, huggingFace or fineTune"),
    (hyd(model={"pvc": PVC, "image": {"reference": "a:1"}}), "spec.model", EXCLUSIVE),
    (hyd(model=MODEL | hub()["model"]), "spec.model", EXCLUSIVE),
    (hyd(model=MODEL | {"fineTune": {"name": "car"}}), "spec.model", EXCLUSIVE),
    (hyd(model={"fineTune": {}}), "spec.model.fineTune.name", "Required value"),
    (hyd(model={"fineTune": {"name": ""}}), "spec.model.fineTune.name", "at least 1 chars long"),
    (hyd(model={"fineTune": {"name": "Car"}}), "spec.model.fineTune.name", OBJECT_NAME),
    (hyd(quantization="int4"), "spec.quantization", 'supported values: "bf16", "int8", "fp8"'),
    (hyd(maxModelLen=15), "spec.maxModelLen", "greater than or equal to 16"),
    (hyd(maxModelLen="4k"), "spec.maxModelLen", "must be of type integer"),
    (hyd(groups=-1), "spec.groups", "greater than or equal to 0"),
    (hyd(groups=1001), "spec.groups", "less than or equal to 1000"),
    (hyd(gpus={"perNode": 0}), "spec.gpus.perNode", "greater than or equal to 1"),
    (hyd(gpus={"perNode": 17}), "spec.gpus.perNode", "less than or equal to 16"),
    (hyd(gpus={"memory": "96 GB"}), "spec.gpus.memory", QUANTITY),
    (hyd(gpus={"memory": 0}), "spec.gpus.memory", QUANTITY),
    (hyd(gpus={"resourceName": "gpu"}), "spec.gpus.resourceName", RESOURCE),
    (hyd(gpus={"resourceClaimTemplate": "GPUs"}), "spec.gpus.resourceClaimTemplate", OBJECT_NAME),
    (
        hyd(gpus={"resourceClaimTemplate": "gpus", "resourceName": "amd.com/gpu"}),
        "spec.gpus.resourceClaimTemplate",
        "takes the place of resourceName: drop one of them",
    ),
    (hyd(gpus={"perNode": 8}, parallelism={"tensor": 12}), "spec.parallelism", LAYOUT),
    (hyd(gpus={"perNode": 4}, parallelism={"tensor": 2, "pipeline": 3}), "spec.parallelism", LAYOUT),
    (hyd(parallelism={"pipeline": 2}), "spec.parallelism.tensor", "Required value"),
    (hyd(parallelism={"tensor": 0}), "spec.parallelism.tensor", "greater than or equal to 1"),
    (hyd(engine={"maxNumSeqs": 0}), "spec.engine.maxNumSeqs", "greater than or equal to 1"),
    (hyd(engine={"gpuMemoryUtilization": 0}), "spec.engine.gpuMemoryUtilization", "must be at least 0.1"),
    (hyd(engine={"gpuMemoryUtilization": 1.01}), "spec.engine.gpuMemoryUtilization", "less than or equal to 1"),
    (hyd(engine={"kvCacheDtype": "int4"}), "spec.engine.kvCacheDtype", 'supported values: "auto", "fp8"'),
    *OWNED,
    *((hyd(**spec), field, message) for spec, field, message in examples.REFUSED),
]


@pytest.mark.parametrize("resource", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(cluster: testbed.Cluster, resource: Resource) -> None:
    assert "created" in try_out(cluster, resource)


@pytest.mark.parametrize("path", sorted((stack.ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_accepted(cluster: testbed.Cluster, namespace: str, path: Path) -> None:
    cluster.kubectl("-n", namespace, "create", "--dry-run=server", "-f", str(path))


@pytest.mark.parametrize(("resource", "field", "message"), REFUSED, ids=[field for _, field, _ in REFUSED])
def test_refused_with_the_field_and_the_reason(
    cluster: testbed.Cluster, resource: Resource, field: str, message: str
) -> None:
    expect_refusal(cluster, resource, field, message)


@pytest.mark.parametrize(
    ("resource", "field"),
    [
        (hyd(qantization="fp8"), "spec.qantization"),
        (hyd(**pvc(subPath="a")), "spec.model.pvc.subPath"),
        (hyd(engine={"maxNumSeq": 3}), "spec.engine.maxNumSeq"),
    ],
    ids=["top", "nested", "beside the engine's free options"],
)
def test_a_field_that_does_not_exist_is_named(cluster: testbed.Cluster, resource: Resource, field: str) -> None:
    with pytest.raises(RuntimeError, match=f'unknown field "{field}"'):
        try_out(cluster, resource)


def test_every_rule_has_both_examples() -> None:
    [version] = DEPLOYMENT.crd()["spec"]["versions"]
    never = [field for _, field, _ in OWNED]
    assert missing_examples(version["schema"]["openAPIV3Schema"], REFUSED, ACCEPTED.values(), never) == []


def test_the_crd_that_is_tried_out_is_the_one_of_the_models(cluster: testbed.Cluster) -> None:
    stored = json.loads(cluster.kubectl("get", "crd", DEPLOYMENT.crd()["metadata"]["name"], "-o", "json"))
    wanted = yaml.safe_load(yaml.safe_dump(DEPLOYMENT.crd()))["spec"]["versions"]
    assert stored["spec"]["versions"] == wanted
