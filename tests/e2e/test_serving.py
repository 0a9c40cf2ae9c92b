"""One HunyuanDeployment through its whole life on real nodes: the tests share its group and run in this order."""

import pytest

from tests import cluster as testbed
from tests import stack
from tests.e2e.tiny import NAME, Object, pods
from tests.stack import DEMO_NAMESPACE as NAMESPACE
from tests.stack import Images

pytestmark = pytest.mark.cluster


def test_a_question_over_the_service_gets_the_right_answer(
    cluster: testbed.Cluster, ready: Object, images: Images
) -> None:
    answer = stack.chat(cluster, NAME, stack.QUESTION, NAMESPACE, images)
    print(answer)
    assert answer == stack.ANSWER


def test_the_group_is_one_ray_cluster_of_two_pods_on_two_nodes(cluster: testbed.Cluster, ready: Object) -> None:
    found = pods(cluster)
    assert [pod["metadata"]["labels"]["hunyuan.dev/rank"] for pod in found] == ["0", "1"]
    assert len({pod["spec"]["nodeName"] for pod in found}) == 2
    assert ready["status"]["plan"].items() >= {"nodes": 2, "tensorParallel": 2, "pipelineParallel": 1}.items()


def test_no_container_is_root_or_can_write_its_image(cluster: testbed.Cluster, ready: Object) -> None:
    for pod in pods(cluster):
        name = pod["metadata"]["name"]
        identity = cluster.kubectl("-n", NAMESPACE, "exec", name, "--", "id", "-u").strip()
        assert identity == "10001"
        refused = cluster.kubectl(
            "-n",
            NAMESPACE,
            "exec",
            name,
            "--",
            "sh",
            "-c",
            "touch /opt/x 2>&1 || true; ls /var/run/secrets 2>&1 || true",
        )
        assert "Read-only file system" in refused
        assert "kubernetes.io" not in refused, "no API credentials in a runtime pod"


def test_kubectl_get_shows_it_ready_and_explain_knows_its_fields(cluster: testbed.Cluster, ready: Object) -> None:
    row = cluster.kubectl("-n", NAMESPACE, "get", "hyd", NAME, "--no-headers").split()
    assert row[:2] == [NAME, "True"]
    assert "quantization" in cluster.kubectl("explain", "hyd.spec")
    true = {c["type"] for c in ready["status"]["conditions"] if c["status"] == "True"}
    assert {"Ready", "Scheduled", "NetworkVerified", "RayReady", "ModelLoaded", "Serving"} <= true


def test_deleting_it_removes_everything_that_was_made_for_it(cluster: testbed.Cluster, ready: Object) -> None:
    cluster.kubectl("-n", NAMESPACE, "delete", "hyd", NAME, "--timeout=60s")

    def left() -> list[str]:
        kinds = "pods,services,configmaps,secrets,serviceaccounts"
        names = cluster.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name").split()
        return [name for name in names if f"/{NAME}" in name and "tiny-model" not in name]

    stack.wait_until("all objects are gone", lambda: not left(), timeout=120, state=lambda: str(left()))
