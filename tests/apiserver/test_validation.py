"""What the API server takes and refuses as a HunyuanDeployment; every refusal names the field and says what is wrong.

Each rule of the CRD has a refused example, and the field that carries it an accepted one:
:func:`test_every_rule_has_both_examples` keeps it so.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hunyuan_operator.api.engine_args import FLAGS, OWNED_OPTIONS, spellings
from hunyuan_operator.crdgen.deployment import DEPLOYMENT

from tests import cluster as testbed
from tests import stack

pytestmark = pytest.mark.apiserver

PVC = {"claimName": "models"}
MODEL = {"pvc": PVC}
QUANTITY = "must be a positive quantity, such as 8, 500m or 96Gi"
DURATION = "must be a duration of at least 1s in whole hours, minutes and seconds, such as 90s or 1h30m"
OBJECT_NAME = "must be the name of a Kubernetes object: lower case letters, digits, '-' and '.'"
RESOURCE = "must be the qualified name of an extended resource"
IMAGE = "must be an image reference, such as registry/name:tag, without spaces"
ABSOLUTE = "must be relative to the volume's root: drop the leading '/'"
HUB = "spec.model.huggingFace"
PINNED = "must be a commit hash or a tag: branches move, and ranks could load different weights"
ENDPOINT = "must be an http or https address without a slash at its end, such as https://huggingface.co"
PARENT = "must not contain '..'"
LAYOUT = "tensor x pipeline must be a multiple of gpus.perNode, or less than it"
NAME_CHARACTERS = "must be a Service's name: lower case letters, digits and '-', a letter first"
NAME_LENGTH = "must be at most 40 characters: pods append group, attempt and rank; host names end at 63"


def hyd(name: str = "hy", **spec: Any) -> dict[str, Any]:
    """A HunyuanDeployment that is right but for what is given."""
    return {
        "apiVersion": "hunyuan.dev/v1alpha1",
        "kind": "HunyuanDeployment",
        "metadata": {"name": name},
        "spec": {"model": MODEL} | spec,
    }


def pvc(**fields: Any) -> dict[str, Any]:
    return hyd(model={"pvc": PVC | fields})


def image(**fields: Any) -> dict[str, Any]:
    return hyd(model={"image": {"reference": "registry.example/models/hunyuan:1"} | fields})


def hub(**fields: Any) -> dict[str, Any]:
    source = {"repo": "tencent/Tencent-Hunyuan-Large", "revision": "v1.0", "cache": PVC}
    return hyd(model={"huggingFace": source | fields})


def shaped(**fields: Any) -> dict[str, Any]:
    shape = {"numHiddenLayers": 4, "hiddenSize": 1280, "intermediateSize": 256, "vocabSize": 768}
    return hyd(model=MODEL | {"architecture": shape | {"numAttentionHeads": 16} | fields})


ACCEPTED = {
    "the least": hyd(),
    "a folder in a volume": pvc(claimName="models.ssd-1", path="a/b..c/..d"),
    "an image": image(reference="registry.example:5000/a/b@sha256:0123", path="model"),
    "a repository of the hub": hub(
        revision="0123456789abcdef0123456789abcdef01234567",
        path="Hunyuan-A52B-Instruct",
        cache={"claimName": "models", "path": "hub"},
        tokenSecret={"name": "hub", "key": "read.token_1"},
    ),
    "a mirror of the hub": hub(revision="releases/1.0", endpoint="http://mirror.example:8080/hf"),
    "the longest name": hyd(name="h" * 40),
    "a name of one letter": hyd(name="h"),
    "numbers as quantities": hyd(gpus={"memory": 96000000000}, runtime={"cpu": 8}),
    "fractions as quantities": hyd(
        gpus={"memory": "1.5Gi"}, runtime={"cpu": "500m", "memory": "1e9"} | {"sharedMemory": 500000000}
    ),
    "all memory shared": hyd(runtime={"memory": "16Gi", "sharedMemory": "16384Mi"}),
    "another device": hyd(gpus={"resourceName": "amd.com/gpu"}),
    "ranks on two nodes": hyd(gpus={"perNode": 8}, parallelism={"tensor": 8, "pipeline": 2}),
    "fewer ranks than GPUs": hyd(gpus={"perNode": 8}, parallelism={"tensor": 3}),
    "waits of one length": hyd(restart={"window": "1h30m", "backoff": {"initial": "60s", "max": "1m"}}),
    "the shortest wait": hyd(restart={"limit": 0, "backoff": {"initial": "1s"}}),
    "vLLM's options": hyd(
        engine={"extraArgs": {"enable-prefix-caching": True, "seed": 7, "hf-overrides": {"a": [1]}, "served": "x"}}
    ),
    "how the model is read, and what browsers may do": hyd(
        engine={"extraArgs": {"load-format": "safetensors", "allowed-origins": ["*"], "root-path": "/hunyuan"}}
    ),
    "an own runtime image": hyd(runtime={"image": "localhost/serve:dev", "imagePullPolicy": "Never"}),
    "no runtime image": hyd(runtime={"image": ""}),
    "node labels": hyd(scheduling={"nodeSelector": {"gpu.example/kind": "H20", "empty": ""}}),
    "a priority": hyd(scheduling={"priorityClassName": "system-node-critical"}),
    "another architecture": shaped(numKeyValueHeads=8),
    "heads of an own width": shaped(numAttentionHeads=3, headDim=80),
    "another network": hyd(
        network={"interface": "bond1", "rdma": {"resource": "rdma/hca", "count": 8}}
        | {"preflight": {"minBandwidth": "25G", "maxLatencyMilliseconds": 5}}
    ),
    "no preflight": hyd(network={"preflight": {"enabled": False}}),
    "no groups": hyd(groups=0),
    "all that the engine has": hyd(
        engine={"maxNumSeqs": 4096, "gpuMemoryUtilization": 1, "kvCacheDtype": "fp8"},
        quantization="fp8",
        maxModelLen=1048576,
    ),
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

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # The name
    (hyd(name="h" * 41), "metadata.name", NAME_LENGTH),
    (hyd(name="hy.large"), "metadata.name", NAME_CHARACTERS),
    (hyd(name="7b"), "metadata.name", NAME_CHARACTERS),
    # The model
    (hyd(model=None), "spec.model", "Required value"),
    (hyd(model={}), "spec.model", "has no source: set pvc, image or huggingFace"),
    (
        hyd(model={"pvc": PVC, "image": {"reference": "a:1"}}),
        "spec.model",
        "pvc, image and huggingFace exclude each other: keep one of them",
    ),
    (hyd(model={"pvc": PVC} | hub()["spec"]["model"]), "spec.model", "pvc, image and huggingFace exclude each other"),
    (hyd(model={"pvc": {}}), "spec.model.pvc.claimName", "Required value"),
    (pvc(claimName=""), "spec.model.pvc.claimName", "at least 1 chars long"),
    (pvc(claimName="Models"), "spec.model.pvc.claimName", OBJECT_NAME),
    (pvc(path="/models"), "spec.model.pvc.path", ABSOLUTE),
    (pvc(path="a/../../etc"), "spec.model.pvc.path", PARENT),
    (image(reference=""), "spec.model.image.reference", "at least 1 chars long"),
    (image(reference="a b"), "spec.model.image.reference", IMAGE),
    (image(path="/models"), "spec.model.image.path", ABSOLUTE),
    (image(path=".."), "spec.model.image.path", PARENT),
    (hub(repo="Hunyuan-Large"), f"{HUB}.repo", "must be a repository of the hub as owner/name"),
    (hub(repo="../etc"), f"{HUB}.repo", "must be a repository of the hub as owner/name"),
    (hub(revision=None), f"{HUB}.revision", "Required value"),
    *((hub(revision=name), f"{HUB}.revision", PINNED) for name in ("main", "master", "refs/pr/1", "a/../b", "a b")),
    (hub(path="/a"), f"{HUB}.path", ABSOLUTE),
    (hub(path="a/.."), f"{HUB}.path", PARENT),
    (hub(cache=None), f"{HUB}.cache", "Required value"),
    (hub(cache={"claimName": "Models"}), f"{HUB}.cache.claimName", OBJECT_NAME),
    (hub(cache=PVC | {"path": "/a"}), f"{HUB}.cache.path", ABSOLUTE),
    (hub(cache=PVC | {"path": "../a"}), f"{HUB}.cache.path", PARENT),
    (hub(tokenSecret={}), f"{HUB}.tokenSecret.name", "Required value"),
    (hub(tokenSecret={"name": "Hub"}), f"{HUB}.tokenSecret.name", OBJECT_NAME),
    (hub(tokenSecret={"name": "hub", "key": "a/b"}), f"{HUB}.tokenSecret.key", "must be a key of a Secret"),
    *((hub(endpoint=url), f"{HUB}.endpoint", ENDPOINT) for url in ("huggingface.co", "ftp://a", "https://a/", "")),
    (
        hub(endpoint="http://mirror.example", tokenSecret={"name": "hub"}),
        f"{HUB}.endpoint",
        "must be https where a token is sent",
    ),
    (shaped(hiddenSize=None), "spec.model.architecture.hiddenSize", "Required value"),
    (shaped(moeTopk=0), "spec.model.architecture.moeTopk", "greater than or equal to 1"),
    (
        shaped(numAttentionHeads=3),
        "spec.model.architecture.hiddenSize",
        "must be a multiple of numAttentionHeads, unless headDim is set",
    ),
    (shaped(numKeyValueHeads=3), "spec.model.architecture.numKeyValueHeads", "must divide numAttentionHeads"),
    (hyd(quantization="int4"), "spec.quantization", 'supported values: "bf16", "int8", "fp8"'),
    (hyd(maxModelLen=15), "spec.maxModelLen", "greater than or equal to 16"),
    (hyd(maxModelLen="4k"), "spec.maxModelLen", "must be of type integer"),
    # GPUs
    (hyd(groups=-1), "spec.groups", "greater than or equal to 0"),
    (hyd(groups=1001), "spec.groups", "less than or equal to 1000"),
    (hyd(gpus={"perNode": 0}), "spec.gpus.perNode", "greater than or equal to 1"),
    (hyd(gpus={"perNode": 17}), "spec.gpus.perNode", "less than or equal to 16"),
    (hyd(gpus={"memory": "96 GB"}), "spec.gpus.memory", QUANTITY),
    (hyd(gpus={"memory": 0}), "spec.gpus.memory", QUANTITY),
    (hyd(gpus={"resourceName": "gpu"}), "spec.gpus.resourceName", RESOURCE),
    (hyd(gpus={"perNode": 8}, parallelism={"tensor": 12}), "spec.parallelism", LAYOUT),
    (hyd(gpus={"perNode": 4}, parallelism={"tensor": 2, "pipeline": 3}), "spec.parallelism", LAYOUT),
    (hyd(parallelism={"pipeline": 2}), "spec.parallelism.tensor", "Required value"),
    (hyd(parallelism={"tensor": 0}), "spec.parallelism.tensor", "greater than or equal to 1"),
    # The engine
    (hyd(engine={"maxNumSeqs": 0}), "spec.engine.maxNumSeqs", "greater than or equal to 1"),
    (hyd(engine={"gpuMemoryUtilization": 1.01}), "spec.engine.gpuMemoryUtilization", "less than or equal to 1"),
    (hyd(engine={"kvCacheDtype": "int4"}), "spec.engine.kvCacheDtype", 'supported values: "auto", "fp8"'),
    *OWNED,
    # The network
    (hyd(network={"interface": ""}), "spec.network.interface", "at least 1 chars long"),
    (hyd(network={"interface": "an-interface-0123"}), "spec.network.interface", "may not be more than 15"),
    (hyd(network={"interface": "eth0,eth1"}), "spec.network.interface", "must be a network interface's name"),
    (hyd(network={"rdma": {}}), "spec.network.rdma.resource", "Required value"),
    (hyd(network={"rdma": {"resource": "hca"}}), "spec.network.rdma.resource", RESOURCE),
    (hyd(network={"rdma": {"resource": "rdma/hca", "count": 0}}), "spec.network.rdma.count", "greater than or equal"),
    (hyd(network={"preflight": {"minBandwidth": "fast"}}), "spec.network.preflight.minBandwidth", QUANTITY),
    (
        hyd(network={"preflight": {"maxLatencyMilliseconds": 0}}),
        "spec.network.preflight.maxLatencyMilliseconds",
        "greater than or equal to 1",
    ),
    # Restarts
    (hyd(restart={"limit": -1}), "spec.restart.limit", "greater than or equal to 0"),
    (hyd(restart={"window": "1d"}), "spec.restart.window", DURATION),
    (hyd(restart={"window": ""}), "spec.restart.window", DURATION),
    (hyd(restart={"backoff": {"initial": "0s"}}), "spec.restart.backoff.initial", DURATION),
    (hyd(restart={"backoff": {"max": "1.5h"}}), "spec.restart.backoff.max", DURATION),
    (
        hyd(restart={"backoff": {"initial": "61s", "max": "1m"}}),
        "spec.restart.backoff.initial",
        "initial must not be longer than max",
    ),
    # Pods
    (hyd(runtime={"image": "a b"}), "spec.runtime.image", IMAGE),
    (hyd(runtime={"imagePullPolicy": "Sometimes"}), "spec.runtime.imagePullPolicy", "Unsupported value"),
    (hyd(runtime={"cpu": "many"}), "spec.runtime.cpu", QUANTITY),
    (hyd(runtime={"cpu": 0.5}), "spec.runtime.cpu", "must be of type integer,string"),
    (hyd(runtime={"memory": "-1Gi"}), "spec.runtime.memory", QUANTITY),
    (hyd(runtime={"sharedMemory": "16Gib"}), "spec.runtime.sharedMemory", QUANTITY),
    (
        hyd(runtime={"memory": "1Gi", "sharedMemory": "1025Mi"}),
        "spec.runtime.sharedMemory",
        "sharedMemory counts against memory and must not be larger",
    ),
    (
        hyd(scheduling={"nodeSelector": {"a b": "c"}}),
        "spec.scheduling.nodeSelector",
        "every key must be a label's name, such as topology.kubernetes.io/zone",
    ),
    (
        hyd(scheduling={"nodeSelector": {"a": "b c"}}),
        "spec.scheduling.nodeSelector",
        "every value must be a label's value: letters, digits, '-', '_' and '.'",
    ),
    (hyd(scheduling={"priorityClassName": "High"}), "spec.scheduling.priorityClassName", OBJECT_NAME),
]


def try_out(cluster: testbed.Cluster, resource: dict[str, Any]) -> str:
    """Let the API server do all but store it."""
    return cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(resource))


@pytest.mark.parametrize("resource", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(cluster: testbed.Cluster, resource: dict[str, Any]) -> None:
    assert "created" in try_out(cluster, resource)


@pytest.mark.parametrize("path", sorted((stack.ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_accepted(cluster: testbed.Cluster, namespace: str, path: Path) -> None:
    cluster.kubectl("-n", namespace, "create", "--dry-run=server", "-f", str(path))


@pytest.mark.parametrize(("resource", "field", "message"), REFUSED, ids=[field for _, field, _ in REFUSED])
def test_refused_with_the_field_and_the_reason(
    cluster: testbed.Cluster, resource: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(RuntimeError) as refused:
        try_out(cluster, resource)
    print(refused.value)
    assert re.search(rf"(^|\s){re.escape(field)}: .*{re.escape(message)}", str(refused.value))


@pytest.mark.parametrize(
    ("resource", "field"),
    [
        (hyd(qantization="fp8"), "spec.qantization"),
        (pvc(subPath="a"), "spec.model.pvc.subPath"),
        (hyd(engine={"maxNumSeq": 3}), "spec.engine.maxNumSeq"),
    ],
    ids=["top", "nested", "beside the engine's free options"],
)
def test_a_field_that_does_not_exist_is_named(cluster: testbed.Cluster, resource: dict[str, Any], field: str) -> None:
    with pytest.raises(RuntimeError, match=f'unknown field "{field}"'):
        try_out(cluster, resource)


def test_every_rule_has_both_examples() -> None:
    [version] = DEPLOYMENT.crd()["spec"]["versions"]
    rules = set(declared(version["schema"]["openAPIV3Schema"]))
    refused = {
        (field, rule) for _, field, told in REFUSED for at, rule in rules if at == field and rule.startswith(told)
    }
    assert sorted(rules - refused) == []
    set_by_someone = {path for resource in ACCEPTED.values() for path in paths(resource)}
    allowed = {path for path, rule in rules if path not in {field for _, field, _ in OWNED}}
    assert sorted(allowed - set_by_someone) == []


def declared(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Each rule as the field that its error names, and its message."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield (path + rule.get("fieldPath", "")).lstrip("."), rule["message"]
    for name, child in schema.get("properties", {}).items():
        yield from declared(child, f"{path}.{name}")


def paths(value: Any, path: str = "") -> Iterator[str]:
    yield path.lstrip(".")
    if isinstance(value, dict):
        for name, child in value.items():
            yield from paths(child, f"{path}.{name}")


def test_the_crd_that_is_tried_out_is_the_one_of_the_models(cluster: testbed.Cluster) -> None:
    stored = json.loads(cluster.kubectl("get", "crd", DEPLOYMENT.crd()["metadata"]["name"], "-o", "json"))
    wanted = yaml.safe_load(yaml.safe_dump(DEPLOYMENT.crd()))["spec"]["versions"]
    assert stored["spec"]["versions"] == wanted
