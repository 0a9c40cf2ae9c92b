"""One HunyuanDeployment through its whole life on real nodes: the tests share its group and run in this order."""

from typing import Any

import pytest

from tests import cluster as testbed
from tests import stack
from tests.stack import DEMO_NAMESPACE as NAMESPACE
from tests.stack import Images

pytestmark = pytest.mark.cluster

NAME = "tiny"
START = 15 * 60
"""Seconds for a group to be Ready; two cores need 2.5 minutes for one group alone."""

Object = dict[str, Any]

KILL_A_WORKER = """
import os, signal, psutil
ranks = [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[0].startswith("ray::RayWorker")]
assert len(ranks) == 1, ranks
os.kill(ranks[0].pid, signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def ready(cluster: testbed.Cluster, models: object) -> Object:
    stack.apply_file(cluster, stack.ROOT / "examples/tiny-deployment.yaml", NAMESPACE)
    return stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "True"), timeout=START)


def pods(cluster: testbed.Cluster) -> list[Object]:
    found = stack.list_of(cluster, "pods", NAMESPACE, f"hunyuan.dev/deployment={NAME}")
    return sorted(found, key=lambda pod: pod["metadata"]["name"])


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


def test_a_killed_worker_process_restarts_the_whole_group_and_its_cause_stays_in_status(
    cluster: testbed.Cluster, ready: Object, images: Images
) -> None:
    before = pods(cluster)
    worker = before[1]["metadata"]["name"]
    cluster.kubectl("-n", NAMESPACE, "exec", worker, "--", "python3", "-c", KILL_A_WORKER)
    stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "False"), timeout=60)
    again = stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "True"), timeout=START)

    failure = again["status"]["lastFailure"]
    print(failure)
    assert (failure["pod"], failure["container"], failure["reason"]) == (worker, "runtime", "WorkerDied")
    assert failure["node"] == before[1]["spec"]["nodeName"]
    assert failure["exitCode"] == 75
    assert failure["log"]
    assert {p["metadata"]["uid"] for p in before}.isdisjoint(p["metadata"]["uid"] for p in pods(cluster))
    assert stack.chat(cluster, NAME, stack.QUESTION, NAMESPACE, images) == stack.ANSWER


def test_kubectl_scale_adds_a_group_and_removes_it(cluster: testbed.Cluster, ready: Object, images: Images) -> None:
    cluster.kubectl("-n", NAMESPACE, "scale", "hyd", NAME, "--replicas", "2")
    scaled = stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "True"), timeout=START)
    assert (scaled["status"]["groups"], scaled["status"]["readyGroups"]) == (2, 2)
    assert len(pods(cluster)) == 4
    leaders = [p["status"]["podIP"] for p in pods(cluster) if p["metadata"]["labels"]["hunyuan.dev/role"] == "leader"]
    for leader in leaders:
        assert stack.chat_at(cluster, leader, (NAME, stack.QUESTION), NAMESPACE, images) == stack.ANSWER

    cluster.kubectl("-n", NAMESPACE, "scale", "hyd", NAME, "--replicas", "1")
    stack.wait_until("the second group is gone", lambda: len(pods(cluster)) == 2, timeout=120)
    assert {pod["metadata"]["labels"]["hunyuan.dev/group"] for pod in pods(cluster)} == {"0"}
    stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "True"), timeout=60)
    assert stack.chat(cluster, NAME, stack.QUESTION, NAMESPACE, images) == stack.ANSWER


def test_deleting_it_removes_everything_that_was_made_for_it(cluster: testbed.Cluster, ready: Object) -> None:
    cluster.kubectl("-n", NAMESPACE, "delete", "hyd", NAME, "--timeout=60s")

    def left() -> list[str]:
        kinds = "pods,services,configmaps,secrets,serviceaccounts"
        names = cluster.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name").split()
        return [name for name in names if f"/{NAME}" in name and "tiny-model" not in name]

    stack.wait_until("all objects are gone", lambda: not left(), timeout=120, state=lambda: str(left()))
