"""A HunyuanDeployment as people see it through kubectl: defaults, columns, scale, texts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hunyuan_operator.api.deployment import HunyuanDeployment

from tests import cluster as testbed
from tests import stack

pytestmark = pytest.mark.apiserver

RESOURCE: dict[str, Any] = {
    "apiVersion": "hunyuan.dev/v1alpha1",
    "kind": "HunyuanDeployment",
    "metadata": {"name": "hy"},
    # Suspended, for the case that the cluster has an operator.
    "spec": {"model": {"pvc": {"claimName": "models"}}, "suspend": True},
}
READY = {"type": "Ready", "status": "True", "reason": "AllGroupsReady", "lastTransitionTime": "2026-11-05T04:00:00Z"}
STATUS: dict[str, Any] = {
    "groups": 1,
    "readyGroups": 1,
    "selector": "hunyuan.dev/deployment=hy",
    "url": "http://hy.ns.svc:8000/v1",
    "conditions": [READY],
    "groupStatuses": [{"index": 0}],
    "plan": {"nodes": 2, "tensorParallel": 8, "pipelineParallel": 2, "weightBytesPerGpu": 48703920640},
}


@pytest.fixture
def created(cluster: testbed.Cluster, namespace: str) -> dict[str, Any]:
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(RESOURCE))
    return stack.get(cluster, "hyd", "hy", namespace)


@pytest.fixture
def with_status(cluster: testbed.Cluster, namespace: str, created: dict[str, Any]) -> dict[str, Any]:
    patch_status(cluster, namespace, STATUS)
    return stack.get(cluster, "hyd", "hy", namespace)


def patch_status(cluster: testbed.Cluster, namespace: str, status: dict[str, Any]) -> None:
    patch = json.dumps({"status": status})
    cluster.kubectl("-n", namespace, "patch", "hyd", "hy", "--subresource=status", "--type=merge", "-p", patch)


def test_what_is_stored_shows_every_default_and_means_the_same(created: dict[str, Any]) -> None:
    stored = HunyuanDeployment.parse(created).spec
    assert stored == HunyuanDeployment.parse(RESOURCE).spec
    assert created["spec"] == stored.model_dump(by_alias=True, exclude_none=True)
    assert "status" not in created


def test_a_status_is_stored_as_it_was_written(with_status: dict[str, Any]) -> None:
    assert with_status["status"] == STATUS


@pytest.mark.parametrize(
    "case", sorted(path.parent for path in (stack.ROOT / "tests/golden").glob("*/status.yaml")), ids=lambda it: it.name
)
def test_what_the_operator_writes_fits_the_schema_and_none_of_it_is_pruned(
    cluster: testbed.Cluster, namespace: str, case: Path
) -> None:
    resource, status = (yaml.safe_load((case / name).read_text()) for name in ("cr.yaml", "status.yaml"))
    kind, name = resource["kind"], resource["metadata"]["name"]
    own = {"apiVersion": resource["apiVersion"], "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    stack.apply(cluster, {**own, "spec": {**resource["spec"], "suspend": True}})  # for the case that an operator runs
    patch = json.dumps({"status": status})
    cluster.kubectl("-n", namespace, "patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)
    assert stack.get(cluster, kind, name, namespace)["status"] == status


def test_two_conditions_of_one_type_are_refused(cluster: testbed.Cluster, namespace: str, created: Any) -> None:
    with pytest.raises(RuntimeError, match=r"status.conditions\[1\]: Duplicate value"):
        patch_status(cluster, namespace, {"conditions": [READY, READY]})


def test_kubectl_get_tells_first_whether_it_is_ready(
    cluster: testbed.Cluster, namespace: str, with_status: Any
) -> None:
    head, row = cluster.kubectl("-n", namespace, "get", "hyd").splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "GROUPS", "SERVING", "TP", "PP", "AGE"]
    assert row.split()[:-1] == ["hy", "True", "AllGroupsReady", "1", "1", "8", "2"]
    wide = cluster.kubectl("-n", namespace, "get", "hyd", "-o", "wide")
    assert STATUS["url"] in wide
    assert "bf16" in wide


def test_kubectl_scale_sets_the_groups_and_sees_their_number(
    cluster: testbed.Cluster, namespace: str, with_status: Any
) -> None:
    cluster.kubectl("-n", namespace, "scale", "hyd", "hy", "--replicas=3")
    assert stack.get(cluster, "hyd", "hy", namespace)["spec"]["groups"] == 3
    url = f"/apis/hunyuan.dev/v1alpha1/namespaces/{namespace}/hunyuandeployments/hy/scale"
    scale = json.loads(cluster.kubectl("get", "--raw", url))
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 1, "selector": STATUS["selector"]}
    with pytest.raises(RuntimeError, match=r"spec.groups: .*less than or equal to 1000"):
        cluster.kubectl("-n", namespace, "scale", "hyd", "hy", "--replicas=1001")


def test_kubectl_wait_understands_the_conditions(cluster: testbed.Cluster, namespace: str, with_status: Any) -> None:
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "--timeout=10s", "hyd/hy")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("hyd", "Tencent Hunyuan-Large served over several GPU nodes behind one OpenAI API"),
        ("hyd.spec.model", "exactly one of pvc, image"),
        ("hyd.spec.quantization", "ENUM: bf16 int8 fp8"),
        ("hyd.spec.engine.extraArgs.model", "Not allowed here: is set by spec.model."),
        ("hyd.status.groupStatuses.retryAt", "Earliest start of the next attempt"),
    ],
)
def test_kubectl_explain_knows_it(cluster: testbed.Cluster, field: str, text: str) -> None:
    assert text in " ".join(cluster.kubectl("explain", field).split())
