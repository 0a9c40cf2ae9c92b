"""Gangs, claims, affinities and budgets at a real API server, with the chart's rights and no more."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hunyuan_operator.build.parts import Nodes, on_nodes

from tests import cluster as testbed
from tests import stack
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.test_operator import create, pods, tiny, wait_pods

pytestmark = pytest.mark.apiserver

PODS = ["tiny-g0-1-0", "tiny-g0-1-1"]


def wait_for(cluster: testbed.Cluster, namespace: str, condition: str, reason: str) -> str:
    """The condition's message, once it is true for that reason."""

    def message() -> str:
        listed = stack.get(cluster, "hyd", "tiny", namespace).get("status", {}).get("conditions", [])
        return next((c["message"] for c in listed if (c["type"], c["reason"]) == (condition, reason)), "")

    stack.wait_until(f"{condition}: {reason}", lambda: bool(message()), timeout=60)
    return message()


@pytest.fixture(scope="module")
def volcano(cluster: testbed.Cluster) -> Iterator[None]:
    """The fields of Volcano's PodGroup that are relied on, with the types that its CRD has; no scheduler."""
    fields: dict[str, Any] = {
        "minMember": {"type": "integer", "format": "int32"},
        "queue": {"type": "string", "default": "default"},
        "priorityClassName": {"type": "string"},
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "podgroups.scheduling.volcano.sh"},
        "spec": {
            "group": "scheduling.volcano.sh",
            "names": {"kind": "PodGroup", "plural": "podgroups", "singular": "podgroup", "listKind": "PodGroupList"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(crd))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/podgroups.scheduling.volcano.sh")
    yield
    cluster.kubectl("delete", "crd", "podgroups.scheduling.volcano.sh", "--wait=false")


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("provider", "version"),
    [("workload", "scheduling.k8s.io/v1beta1"), ("coscheduling", "scheduling.x-k8s.io/v1alpha1")],
)
def test_a_provider_that_is_not_installed_is_told(
    cluster: testbed.Cluster, namespace: str, provider: str, version: str
) -> None:
    if provider == "workload" and "scheduling.k8s.io/v1beta1" in cluster.kubectl("api-versions").split():
        pytest.skip("this API server serves Kubernetes' own PodGroups")
    create(cluster, namespace, tiny(scheduling={"gang": {"provider": provider}}))
    message = wait_for(cluster, namespace, "Stalled", "GangUnavailable")
    assert message == f"spec.scheduling.gang.provider: PodGroup of {version} is not installed"
    assert pods(cluster, namespace) == []


@pytest.mark.usefixtures("volcano")
def test_a_gang_comes_and_goes_with_its_attempt(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess
) -> None:
    create(cluster, namespace, tiny(scheduling={"gang": {"provider": "volcano", "queue": "gpus"}}))
    wait_pods(cluster, namespace, PODS)
    group = stack.get(cluster, "podgroups.scheduling.volcano.sh", "tiny-g0-1", namespace)
    assert group["spec"] == {"minMember": 2, "queue": "gpus"}
    cluster.kubectl("-n", namespace, "patch", "hyd", "tiny", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    wait_pods(cluster, namespace, [])
    assert stack.list_of(cluster, "podgroups.scheduling.volcano.sh", namespace) == []
    assert not [name for name in shared.metrics() if 'code="403"' in name], shared.log


@pytest.mark.usefixtures("shared")
def test_pods_with_all_that_scheduling_has_are_accepted(cluster: testbed.Cluster, restricted: str) -> None:
    scheduling = {
        "topologyKey": "example.com/rack",
        "gpuProducts": ["NVIDIA-H20"],
        "gang": {"provider": "kueue", "queue": "gpus"},
    }
    create(cluster, restricted, tiny(scheduling=scheduling, gpus={"perNode": 1, "resourceClaimTemplate": "one-gpu"}))
    wait_pods(cluster, restricted, PODS)
    pod = stack.get(cluster, "pod", PODS[0], restricted)
    assert pod["spec"]["resourceClaims"] == [{"name": "gpus", "resourceClaimTemplateName": "one-gpu"}]


def test_nodes_are_avoided_and_preferred_by_name(cluster: testbed.Cluster, namespace: str) -> None:
    affinity = on_nodes(["NVIDIA-H20"], Nodes(avoid=("node-a", "node-b"), prefer=("node-c", "node-d")))
    pod = stack.client_pod("any", ["true"], namespace, "registry.example/any:1")
    pod["spec"]["affinity"] = affinity
    accepted = json.loads(cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod)))
    assert accepted["spec"]["affinity"] == affinity


@pytest.mark.usefixtures("shared")
def test_a_budget_comes_and_goes_and_leaves_the_pods_alone(cluster: testbed.Cluster, namespace: str) -> None:
    create(cluster, namespace, tiny(scheduling={"disruption": {"budget": True}}))
    wait_pods(cluster, namespace, PODS)
    assert stack.get(cluster, "pdb", "tiny-g0", namespace)["spec"]["minAvailable"] == 2
    without = '{"spec": {"scheduling": {"disruption": {"budget": false}}}}'
    cluster.kubectl("-n", namespace, "patch", "hyd", "tiny", "--type=merge", "-p", without)
    stack.wait_until(
        "the budget is gone",
        lambda: stack.list_of(cluster, "pdb", namespace) == [],
        timeout=60,
        state=lambda: stack.diagnosis(cluster, namespace),
    )
    assert pods(cluster, namespace) == PODS
