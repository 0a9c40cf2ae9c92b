"""A model from a hub: fetched once for both nodes of a group, its progress in status, then loaded from the volume."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import cluster as testbed
from tests import stack
from tests.stack import DEMO_NAMESPACE as NAMESPACE

pytestmark = pytest.mark.cluster

NAME = "from-hub"
CACHE = "hub-cache"
PACE = 0.004
"""Seconds a KiB: slow enough for its progress to be seen."""


@pytest.fixture
def hub(cluster: testbed.Cluster, models: Path) -> Iterator[str]:
    """Address of a hub inside the cluster that has the tiny model as ``test/tiny``."""
    shutil.rmtree(models / CACHE, ignore_errors=True)
    server = (stack.ROOT / "tests/hub_server.py").read_text()
    command = ["python3", "/code/hub_server.py", "/models/tiny", "8000", str(PACE)]
    pod = stack.client_pod("hub", command, NAMESPACE, cluster.images.operator)
    pod["metadata"]["labels"] = {"app": "hub"}
    pod["spec"]["volumes"] = [
        {"name": "code", "configMap": {"name": "hub"}},
        {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
    ]
    pod["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "code", "mountPath": "/code"},
        {"name": "models", "mountPath": "/models", "readOnly": True},
    ]
    code = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"hub_server.py": server}}
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"app": "hub"}, "ports": [{"port": 8000}]}}
    metadata = {"metadata": {"name": "hub", "namespace": NAMESPACE}}
    stack.apply(cluster, code | metadata, service | metadata, pod)
    yield f"http://hub.{NAMESPACE}.svc:8000"
    cluster.kubectl("-n", NAMESPACE, "delete", "hyd", NAME, "--ignore-not-found")
    cluster.kubectl("-n", NAMESPACE, "delete", "pod/hub", "service/hub", "configmap/hub", "--grace-period=1")
    stack.wait_until("its pods are gone", lambda: not pods(cluster), timeout=120)
    shutil.rmtree(models / CACHE)


def pods(cluster: testbed.Cluster) -> list[dict[str, Any]]:
    return stack.list_of(cluster, "pods", NAMESPACE, f"hunyuan.dev/deployment={NAME}")


def test_a_model_is_fetched_once_for_two_nodes_and_its_progress_is_seen(
    cluster: testbed.Cluster, models: Path, hub: str
) -> None:
    resource = yaml.safe_load((stack.ROOT / "examples/tiny-deployment.yaml").read_text())
    resource["metadata"] = {"name": NAME, "namespace": NAMESPACE}
    del resource["spec"]["model"]["pvc"]
    source = {"repo": "test/tiny", "revision": "v1", "endpoint": hub}
    resource["spec"]["model"]["huggingFace"] = source | {"cache": {"claimName": "models", "path": CACHE}}
    stack.apply(cluster, resource)
    seen: list[dict[str, Any]] = []
    messages: set[str] = set()

    def loading() -> bool:
        status = stack.get(cluster, "hyd", NAME, NAMESPACE)
        assert "lastFailure" not in status.get("status", {}), status["status"]["lastFailure"]
        [group] = status.get("status", {}).get("groupStatuses") or [{}]
        if group.get("state") == "Fetching":
            messages.add(stack.condition(status, "ModelLoaded")["message"])
            seen.extend([group["progress"]] if "progress" in group else [])
        return group.get("state") in {"Joined", "Loading", "Serving"}

    stack.wait_until("the model is fetched, and its loading begins", loading, timeout=180)
    print(*sorted(messages), sep="\n")
    snapshot = models / CACHE / "test--tiny/v1"
    fetched = {path.name: path.read_bytes() for path in snapshot.iterdir()}
    assert fetched == {path.name: path.read_bytes() for path in (models / "tiny").iterdir() if path.name in fetched}
    assert "config.json" in fetched
    assert {one["totalBytes"] for one in seen} == {sum(map(len, fetched.values()))}
    assert any(0 < one["doneBytes"] < one["totalBytes"] for one in seen)
    requests = cluster.kubectl("-n", NAMESPACE, "logs", "hub").splitlines()
    for shard in (name for name in fetched if name.endswith(".safetensors")):
        assert requests.count(f"/elsewhere/test/tiny/{shard}") == 1, "once, though both pods needed it"
