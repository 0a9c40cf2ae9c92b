"""The chart, rendered and installed by the real helm."""

from typing import Any

import pytest
import yaml

from tests import cluster as testbed
from tests import stack
from tests.apiserver import operator_process

pytestmark = pytest.mark.apiserver

CHART = str(stack.ROOT / "charts/hunyuan-operator")
ACCOUNT = f"system:serviceaccount:{stack.SYSTEM_NAMESPACE}:{operator_process.NAME}"


def render(cluster: testbed.Cluster, *settings: str) -> list[dict[str, Any]]:
    values = [part for setting in ("runtimeImage=runtime:1", *settings) for part in ("--set", setting)]
    text = cluster.helm("template", "hunyuan-operator", CHART, "--namespace", "system", *values)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


@pytest.fixture(scope="module")
def installed(cluster: testbed.Cluster) -> None:
    operator_process.install(cluster)


def test_lint_finds_nothing(cluster: testbed.Cluster) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in cluster.helm("lint", CHART, "--set", "runtimeImage=runtime:1")


def test_the_operators_pod_is_restricted(cluster: testbed.Cluster, namespace: str) -> None:
    """Asked of the API server's own admission."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    (deployment,) = of_kind(render(cluster), "Deployment")
    template = deployment["spec"]["template"]
    assert template["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    template["spec"].pop("serviceAccountName")
    template["spec"]["automountServiceAccountToken"] = False
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"]["name"] = "operator"
    stack.wait_until(
        "the namespace has its service account",
        lambda: stack.list_of(cluster, "serviceaccounts", namespace),
        timeout=30,
    )
    cluster.kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod))


@pytest.mark.parametrize("tag", ["dev", "1.10", "20261124"])
def test_the_images_are_those_that_were_asked_for(cluster: testbed.Cluster, tag: str) -> None:
    settings = (
        "image.repository=registry.example.org/op",
        f"image.tag={tag}",
        "imagePullSecrets[0].name=key",
        "trainImage=train:1",
    )
    (deployment,) = of_kind(render(cluster, *settings), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"registry.example.org/op:{tag}"
    assert pod["imagePullSecrets"] == [{"name": "key"}]
    environment = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    assert environment["HUNYUAN_RUNTIME_IMAGE"] == "runtime:1"
    assert environment["HUNYUAN_TRAIN_IMAGE"] == "train:1"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("runtimeImage=", "runtimeImage is required"),
        ("replicas=-1", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("replica=2", "replica"),
        ("log.level=loud", "level"),
    ],
)
def test_a_wrong_value_is_named(cluster: testbed.Cluster, setting: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        render(cluster, setting)


def test_watching_some_namespaces_needs_no_right_in_others(cluster: testbed.Cluster) -> None:
    documents = render(cluster, "watchNamespaces={team-a,team-b}")
    assert of_kind(documents, "ClusterRole") == []
    assert of_kind(documents, "ClusterRoleBinding") == []
    everywhere = of_kind(render(cluster), "ClusterRole")[0]["rules"]
    roles = {role["metadata"]["namespace"]: role["rules"] for role in of_kind(documents, "Role")}
    assert roles["team-a"] == roles["team-b"] == everywhere
    assert set(roles) == {"team-a", "team-b", "system"}


def test_metrics_can_do_without_a_service(cluster: testbed.Cluster) -> None:
    assert len(of_kind(render(cluster), "Service")) == 1
    assert of_kind(render(cluster, "metrics.service=false"), "Service") == []


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("get", "hunyuandeployments.hunyuan.dev", "yes"),
        ("watch", "hunyuandeployments.hunyuan.dev", "yes"),
        ("patch", "hunyuandeployments.hunyuan.dev/status", "yes"),
        ("watch", "hunyuanfinetunes.hunyuan.dev", "yes"),
        ("patch", "hunyuanfinetunes.hunyuan.dev/status", "yes"),
        ("create", "pods", "yes"),
        ("watch", "jobs.batch", "yes"),
        ("create", "jobs.batch", "yes"),
        ("delete", "jobs.batch", "yes"),
        ("get", "pods/log", "yes"),
        ("get", "secrets", "yes"),
        ("list", "secrets", "no"),
        ("watch", "secrets", "no"),
        ("patch", "secrets", "no"),
        ("delete", "secrets", "no"),
        ("patch", "hunyuandeployments.hunyuan.dev", "no"),
        ("delete", "hunyuandeployments.hunyuan.dev", "no"),
        ("patch", "hunyuanfinetunes.hunyuan.dev", "no"),
        ("delete", "hunyuanfinetunes.hunyuan.dev", "no"),
        ("patch", "jobs.batch", "no"),
        ("patch", "pods", "yes"),
        ("update", "pods", "no"),
        ("create", "pods/exec", "no"),
        ("get", "pods/proxy", "no"),
        ("list", "nodes", "no"),
        ("list", "namespaces", "no"),
        ("list", "customresourcedefinitions.apiextensions.k8s.io", "no"),
        ("create", "rolebindings.rbac.authorization.k8s.io", "no"),
        ("get", "leases.coordination.k8s.io", "no"),
    ],
)
def test_rights_everywhere(cluster: testbed.Cluster, installed: None, verb: str, resource: str, allowed: str) -> None:
    name, _, subresource = resource.partition("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": ACCOUNT,
            "resourceAttributes": {
                "verb": verb,
                "resource": name.partition(".")[0],
                "group": name.partition(".")[2],
                "subresource": subresource,
                "namespace": "default",
            },
        },
    }
    answer = cluster.kubectl("create", "-o", "jsonpath={.status.allowed}", "-f", "-", stdin=yaml.safe_dump(review))
    assert {"true": "yes", "false": "no"}[answer] == allowed
