"""Examples of what both kinds of resources have in common, as parts of a spec, and how examples are tried out.

Each rule of a CRD has a refused example, and the field that carries it an accepted one: :func:`missing_examples` tells.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests import cluster as testbed

Spec = dict[str, Any]
Resource = dict[str, Any]
Refusal = tuple[dict[str, Any], str, str]
"""A spec or a resource, the field that the error names, and how the error begins."""

PVC = {"claimName": "models"}
QUANTITY = "must be a positive quantity, such as 8, 500m or 96Gi"
DURATION = "must be a duration of at least 1s in whole hours, minutes and seconds, such as 90s or 1h30m"
OBJECT_NAME = "must be the name of a Kubernetes object: lower case letters, digits, '-' and '.'"
RESOURCE = "must be the qualified name of an extended resource"
ABSOLUTE = "must be relative to the volume's root: drop the leading '/'"
PARENT = "must not contain '..'"
NAME_CHARACTERS = "must be a Service's name: lower case letters, digits and '-', a letter first"
NAME_LENGTH = "must be at most 40 characters: pods append attempt and rank; host names end at 63"
IMAGE = "must be an image reference, such as registry/name:tag, without spaces"
HUB = "spec.model.huggingFace"
PINNED = "must be a commit hash or a tag: branches move, and ranks could load different weights"
ENDPOINT = "must be an http or https address without a slash at its end, such as https://huggingface.co"


def pvc(**fields: Any) -> Spec:
    return {"model": {"pvc": PVC | fields}}


def image(**fields: Any) -> Spec:
    return {"model": {"image": {"reference": "registry.example/models/hunyuan:1"} | fields}}


def hub(**fields: Any) -> Spec:
    source = {"repo": "tencent/Tencent-Hunyuan-Large", "revision": "v1.0", "cache": PVC}
    return {"model": {"huggingFace": source | fields}}


def shaped(**fields: Any) -> Spec:
    shape = {"numHiddenLayers": 4, "hiddenSize": 1280, "intermediateSize": 256, "vocabSize": 768}
    return {"model": {"pvc": PVC, "architecture": shape | {"numAttentionHeads": 16} | fields}}


ACCEPTED: dict[str, Spec] = {
    "a folder in a volume": pvc(claimName="models.ssd-1", path="a/b..c/..d"),
    "an image": image(reference="registry.example:5000/a/b@sha256:0123", path="model"),
    "a repository of the hub": hub(
        revision="0123456789abcdef0123456789abcdef01234567",
        path="Hunyuan-A52B-Instruct",
        cache={"claimName": "models", "path": "hub"},
        tokenSecret={"name": "hub", "key": "read.token_1"},
    ),
    "a mirror of the hub": hub(revision="releases/1.0", endpoint="http://mirror.example:8080/hf"),
    "a part of a processor": {"runtime": {"cpu": "500m"}},
    "all memory shared": {"runtime": {"memory": "16Gi", "sharedMemory": "16384Mi"}},
    "waits of one length": {"restart": {"window": "1h30m", "backoff": {"initial": "60s", "max": "1m"}}},
    "the shortest wait": {"restart": {"limit": 0, "backoff": {"initial": "1s"}}},
    "an own runtime image": {"runtime": {"image": "localhost/serve:dev", "imagePullPolicy": "Never"}},
    "no runtime image": {"runtime": {"image": ""}},
    "node labels": {"scheduling": {"nodeSelector": {"gpu.example/kind": "H20", "empty": ""}}},
    "a priority": {"scheduling": {"priorityClassName": "system-node-critical"}},
    "a gang of Kueue's": {"scheduling": {"gang": {"provider": "kueue", "queue": "gpus"}}},
    "a gang of Volcano's default queue": {"scheduling": {"gang": {"provider": "volcano"}}},
    "a gang of Kubernetes' own": {"scheduling": {"gang": {"provider": "workload"}, "disruption": {"budget": True}}},
    "a rack of some GPUs": {
        "scheduling": {"topologyKey": "example.com/rack", "gpuProducts": ["NVIDIA-H20", "NVIDIA-H100-80GB-HBM3"]}
    },
    "another architecture": shaped(numKeyValueHeads=8),
    "heads of an own width": shaped(numAttentionHeads=3, headDim=80),
    "another network": {
        "network": {"interface": "bond1", "rdma": {"resource": "rdma/hca", "count": 8}}
        | {"preflight": {"minBandwidth": "25G", "maxLatencyMilliseconds": 5}}
    },
    "no preflight": {"network": {"preflight": {"enabled": False}}},
}

REFUSED: list[Refusal] = [
    ({"model": {"pvc": {}}}, "spec.model.pvc.claimName", "Required value"),
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
    ({"network": {"interface": ""}}, "spec.network.interface", "at least 1 chars long"),
    ({"network": {"interface": "an-interface-0123"}}, "spec.network.interface", "may not be more than 15"),
    ({"network": {"interface": "eth0,eth1"}}, "spec.network.interface", "must be a network interface's name"),
    ({"network": {"rdma": {}}}, "spec.network.rdma.resource", "Required value"),
    ({"network": {"rdma": {"resource": "hca"}}}, "spec.network.rdma.resource", RESOURCE),
    ({"network": {"rdma": {"resource": "rdma/hca", "count": 0}}}, "spec.network.rdma.count", "greater than or equal"),
    ({"network": {"preflight": {"minBandwidth": "fast"}}}, "spec.network.preflight.minBandwidth", QUANTITY),
    (
        {"network": {"preflight": {"maxLatencyMilliseconds": 0}}},
        "spec.network.preflight.maxLatencyMilliseconds",
        "greater than or equal to 1",
    ),
    ({"restart": {"limit": -1}}, "spec.restart.limit", "greater than or equal to 0"),
    ({"restart": {"window": "1d"}}, "spec.restart.window", DURATION),
    ({"restart": {"window": ""}}, "spec.restart.window", DURATION),
    ({"restart": {"backoff": {"initial": "0s"}}}, "spec.restart.backoff.initial", DURATION),
    ({"restart": {"backoff": {"max": "1.5h"}}}, "spec.restart.backoff.max", DURATION),
    (
        {"restart": {"backoff": {"initial": "61s", "max": "1m"}}},
        "spec.restart.backoff.initial",
        "initial must not be longer than max",
    ),
    ({"runtime": {"image": "a b"}}, "spec.runtime.image", IMAGE),
    ({"runtime": {"imagePullPolicy": "Sometimes"}}, "spec.runtime.imagePullPolicy", "Unsupported value"),
    ({"runtime": {"cpu": "many"}}, "spec.runtime.cpu", QUANTITY),
    ({"runtime": {"cpu": 0.5}}, "spec.runtime.cpu", "must be of type integer,string"),
    ({"runtime": {"memory": "-1Gi"}}, "spec.runtime.memory", QUANTITY),
    ({"runtime": {"sharedMemory": "16Gib"}}, "spec.runtime.sharedMemory", QUANTITY),
    (
        {"runtime": {"memory": "1Gi", "sharedMemory": "1025Mi"}},
        "spec.runtime.sharedMemory",
        "sharedMemory counts against memory and must not be larger",
    ),
    (
        {"scheduling": {"nodeSelector": {"a b": "c"}}},
        "spec.scheduling.nodeSelector",
        "every key must be a label's name, such as topology.kubernetes.io/zone",
    ),
    (
        {"scheduling": {"nodeSelector": {"a": "b c"}}},
        "spec.scheduling.nodeSelector",
        "every value must be a label's value: letters, digits, '-', '_' and '.'",
    ),
    ({"scheduling": {"gang": {"provider": "slurm"}}}, "spec.scheduling.gang.provider", "Unsupported value"),
    (
        {"scheduling": {"gang": {"provider": "kueue"}}},
        "spec.scheduling.gang.queue",
        "kueue needs the name of a LocalQueue",
    ),
    (
        {"scheduling": {"gang": {"provider": "coscheduling", "queue": "gpus"}}},
        "spec.scheduling.gang.queue",
        "only kueue and volcano have queues: drop it",
    ),
    (
        {"scheduling": {"gang": {"provider": "volcano", "queue": "a b"}}},
        "spec.scheduling.gang.queue",
        "must be a label's value: letters, digits, '-', '_' and '.'",
    ),
    (
        {"scheduling": {"topologyKey": "a b"}},
        "spec.scheduling.topologyKey",
        "must be a label's name, such as topology.kubernetes.io/zone",
    ),
    (
        {"scheduling": {"topologyKey": "kubernetes.io/hostname"}},
        "spec.scheduling.topologyKey",
        "can't be a single node: the pods of an attempt are on different nodes",
    ),
    (
        {"scheduling": {"gpuProducts": ["a b"]}},
        "spec.scheduling.gpuProducts[0]",
        "must be a label's value: letters, digits, '-', '_' and '.'",
    ),
    ({"scheduling": {"priorityClassName": "High"}}, "spec.scheduling.priorityClassName", OBJECT_NAME),
]


def try_out(cluster: testbed.Cluster, resource: Resource) -> str:
    """Let the API server do all but store it."""
    return cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(resource))


def expect_refusal(cluster: testbed.Cluster, resource: Resource, field: str, message: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        try_out(cluster, resource)
    assert_names(str(refused.value), field, message)


def assert_names(error: str, field: str, message: str) -> None:
    print(error)
    assert re.search(rf"(^|\s){re.escape(field)}: .*{re.escape(message)}", error)


def missing_examples(
    schema: dict[str, Any], refused: Iterable[Refusal], accepted: Iterable[Resource], never: Iterable[str] = ()
) -> list[str]:
    """Rules without a refused example, and fields that carry one without an accepted; ``never`` are to be absent."""
    rules = set(_declared(schema))
    shown = {(at, rule) for _, field, told in refused for at, rule in rules if at == field and rule.startswith(told)}
    given = {path for resource in accepted for path in _paths(resource)}
    return sorted(f"{at}: {rule}" for at, rule in rules - shown) + sorted({at for at, _ in rules} - given - {*never})


def _declared(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Each rule as the field that its error names, and its message."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield (path + rule.get("fieldPath", "")).lstrip("."), rule["message"]
    for name, child in schema.get("properties", {}).items():
        yield from _declared(child, f"{path}.{name}")
    if "items" in schema:
        yield from _declared(schema["items"], f"{path}[0]")


def _paths(value: Any, path: str = "") -> Iterator[str]:
    yield path.lstrip(".")
    children = value.items() if isinstance(value, dict) else ()
    for name, child in children:
        yield from _paths(child, f"{path}.{name}")
    for place, child in enumerate(value if isinstance(value, list) else ()):
        yield from _paths(child, f"{path}[{place}]")
