"""What happens to a group that serves, each with its bound; docs/faults.md lists them all.

The tests share the group of test_serving and leave it ready.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import cluster as testbed
from tests import stack
from tests.cluster.nodes import Node
from tests.cluster.testbed import NODES
from tests.e2e import matrix
from tests.e2e.tiny import NAME, START, Object, pods
from tests.stack import DEMO_NAMESPACE as NAMESPACE
from tests.stack import Images

pytestmark = pytest.mark.cluster

SEEN_WITHIN = 10
"""Seconds from a fault to status: not ready, with the rank's pod as the root cause."""

SIGNAL_THE_RANK = """
import os, sys, time, psutil
ranks = [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[0].startswith("ray::RayWorker")]
assert len(ranks) == 1, ranks
os.kill(ranks[0].pid, int(sys.argv[1]))
print(time.time())
"""

LEAVE_A_STREAM = """
import http.client, json, sys, time, urllib.request
host, model = sys.argv[1:]

def number(name):
    lines = urllib.request.urlopen(f"http://{host}:8000/metrics", timeout=10).read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

before = number("vllm:generation_tokens_total")
body = {"model": model, "prompt": "1", "stream": True, "ignore_eos": True, "max_tokens": 480, "temperature": 0}
connection = http.client.HTTPConnection(host, 8000, timeout=60)
connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
answer = connection.getresponse()
assert answer.readline().startswith(b"data: "), "a first token"
running = number("vllm:num_requests_running")
answer.close()
connection.close()
left = time.time()
while number("vllm:num_requests_running") and time.time() < left + 30:
    time.sleep(0.05)
seconds, used = time.time() - left, number("vllm:kv_cache_usage_perc")
tokens = number("vllm:generation_tokens_total") - before
print(json.dumps({"running": running, "seconds": seconds, "cache": used, "tokens": tokens}))
"""


@pytest.fixture(scope="module", autouse=True)
def _many_restarts(cluster: testbed.Cluster, ready: Object) -> None:
    patch = json.dumps({"spec": {"restart": {"limit": 100}}})
    cluster.kubectl("-n", NAMESPACE, "patch", "hyd", NAME, "--type", "merge", "-p", patch)


def name_of(pod: Object) -> str:
    return str(pod["metadata"]["name"])


@contextmanager
def restarted(cluster: testbed.Cluster, images: Images, fault: str) -> Iterator[Object]:
    """Afterwards the group is new as a whole, and answers. The mapping is what :func:`seen` and the body found."""
    before = pods(cluster)
    found: Object = {}
    yield found
    stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "True"), timeout=START)
    matrix.record(fault, again=time.time() - found.pop("began"), **found)
    assert {pod["metadata"]["uid"] for pod in before}.isdisjoint(pod["metadata"]["uid"] for pod in pods(cluster))
    assert stack.chat(cluster, NAME, stack.QUESTION, NAMESPACE, images) == stack.ANSWER


def seen(cluster: testbed.Cluster, found: Object, fault: Callable[[], float]) -> Object:
    """The failure that status tells after the fault; in time, with Ready=False. ``fault`` returns when it was."""
    known = stack.get(cluster, "hyd", NAME, NAMESPACE)["status"].get("lastFailure")
    began = fault()
    while True:
        resource = stack.get(cluster, "hyd", NAME, NAMESPACE)
        seconds = time.time() - began
        failure = resource["status"].get("lastFailure")
        if stack.condition(resource, "Ready")["status"] == "False" and failure != known:
            print(f"seen after {seconds:.1f} s:", json.dumps(failure | {"log": "..."}, ensure_ascii=False))
            assert seconds <= SEEN_WITHIN
            found |= {"began": began, "seen": seconds, "reason": failure["reason"]}
            return dict(failure)
        assert seconds < 90, resource["status"]
        time.sleep(0.2)


def signal_the_rank(cluster: testbed.Cluster, pod: str, number: int) -> float:
    told = cluster.kubectl("-n", NAMESPACE, "exec", pod, "--", "python3", "-c", SIGNAL_THE_RANK, str(number))
    return float(told)


def test_a_client_that_leaves_frees_its_place_in_the_cache(cluster: testbed.Cluster, images: Images) -> None:
    host = f"{NAME}.{NAMESPACE}.svc"
    told = stack.run_in_pod(cluster, ["python3", "-c", LEAVE_A_STREAM, host, NAME], NAMESPACE, images.operator)
    print(told)
    found = json.loads(told)
    assert found["running"] >= 1
    assert found["seconds"] < 3
    assert found["cache"] == 0
    assert found["tokens"] < 240, "the rest was not generated for nobody"
    matrix.record("client-left", seen=found["seconds"])


def test_a_killed_rank_is_seen_in_time_and_the_whole_group_restarts(cluster: testbed.Cluster, images: Images) -> None:
    leader, victim = pods(cluster)
    with restarted(cluster, images, "killed") as found:
        with load(cluster, images, seconds=20) as result:
            stack.wait_until("it has work", lambda: running(cluster, name_of(leader)) > 1, timeout=60)
            failure = seen(cluster, found, lambda: signal_the_rank(cluster, name_of(victim), 9))
        found["lost"] = f"{len(result['lost'])} that were running, of {STREAMS} streams"
    assert (failure["pod"], failure["container"], failure["reason"]) == (name_of(victim), "runtime", "WorkerDied")
    assert (failure["node"], failure["exitCode"]) == (victim["spec"]["nodeName"], 75)
    assert "on rank 1 died" in failure["message"]
    assert failure["log"]


def test_a_rank_that_hangs_is_seen_in_time(cluster: testbed.Cluster, images: Images) -> None:
    victim = pods(cluster)[1]
    with restarted(cluster, images, "hung") as found:
        failure = seen(cluster, found, lambda: signal_the_rank(cluster, name_of(victim), 19))
    assert (failure["pod"], failure["reason"], failure["exitCode"]) == (name_of(victim), "RankHung", 77)
    assert failure["node"] == victim["spec"]["nodeName"]
    assert "has been stopped" in failure["message"]


@contextmanager
def cut_off(node: Node) -> Iterator[float]:
    """The node's only cable is pulled; yields when."""
    cable = f"hunyuan-{node.name}"
    subprocess.run(["ip", "link", "set", cable, "down"], check=True)
    try:
        yield time.time()
    finally:
        subprocess.run(["ip", "link", "set", cable, "up"], check=True)


def test_a_rank_whose_link_is_cut_is_seen_in_time(cluster: testbed.Cluster, models: Path, images: Images) -> None:
    """Its node can tell nobody anything, so the other rank has to. The operator's own node stays connected."""
    [operator] = stack.list_of(cluster, "pods", stack.SYSTEM_NAMESPACE, "app.kubernetes.io/name=hunyuan-operator")
    victim = next(pod for pod in pods(cluster) if pod["spec"]["nodeName"] != operator["spec"]["nodeName"])
    node = next(node for node in NODES if node.name == victim["spec"]["nodeName"])
    with restarted(cluster, images, "cut") as found, cut_off(node) as began:
        failure = seen(cluster, found, lambda: began)
    assert (failure["pod"], failure["node"]) == (name_of(victim), node.name)
    assert failure["reason"] in {"RankUnreachable", "LeaderLost"}
    assert "exitCode" not in failure, "nobody can know how its container is"


def test_scaling_down_under_load_loses_no_request(cluster: testbed.Cluster, ready: Object, images: Images) -> None:
    cluster.kubectl("-n", NAMESPACE, "scale", "hyd", NAME, "--replicas", "2")
    scaled = stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "True"), timeout=START)
    assert (scaled["status"]["groups"], scaled["status"]["readyGroups"]) == (2, 2)
    leaders = [pod for pod in pods(cluster) if pod["metadata"]["labels"]["hunyuan.dev/role"] == "leader"]
    for leader in leaders:
        host = leader["status"]["podIP"]
        assert stack.chat_at(cluster, host, (NAME, stack.QUESTION), NAMESPACE, images) == stack.ANSWER

    with load(cluster, images, seconds=20) as result:
        stack.wait_until("the second group has work", lambda: running(cluster, name_of(leaders[1])) > 1, timeout=60)
        cluster.kubectl("-n", NAMESPACE, "scale", "hyd", NAME, "--replicas", "1")
        began = time.time()
        stack.wait_until("the second group is gone", lambda: len(pods(cluster)) == 2, timeout=120)
        gone = time.time() - began
        print(f"gone after {gone:.0f} s")
    print(result)
    assert result["lost"] == []
    assert result["refused"] == []
    assert result["completed"] >= STREAMS
    matrix.record("scaled-down", seen=gone, lost=f"none of {result['completed']}")
    assert {pod["metadata"]["labels"]["hunyuan.dev/group"] for pod in pods(cluster)} == {"0"}
    after = stack.wait_condition(cluster, NAME, NAMESPACE, ("Ready", "True"), timeout=60)
    assert after["status"]["groupStatuses"][0]["attempt"] == scaled["status"]["groupStatuses"][0]["attempt"], (
        "a full queue is no fault"
    )


STREAMS = 8


@contextmanager
def load(cluster: testbed.Cluster, images: Images, seconds: int) -> Iterator[Object]:
    """Streams over the Service from a pod; afterwards the mapping holds what became of them."""
    script = Path(__file__).with_name("load.py").read_text()
    host = f"{NAME}.{NAMESPACE}.svc"
    result: Object = {}
    command = ["python3", "-c", script, host, NAME, str(STREAMS), str(seconds), "200"]
    stack.apply(cluster, stack.client_pod("load", command, NAMESPACE, images.operator))
    try:
        yield result
        ended = stack.wait_until(
            "the load has ended",
            lambda: {"Succeeded", "Failed"} & {stack.get(cluster, "pod", "load", NAMESPACE)["status"]["phase"]},
            timeout=180,
        )
        told = cluster.kubectl("-n", NAMESPACE, "logs", "load")
        assert ended == {"Succeeded"}, told
        result |= json.loads(told)
    finally:
        cluster.kubectl("-n", NAMESPACE, "delete", "pod", "load", "--wait=false")


def running(cluster: testbed.Cluster, leader: str) -> float:
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    lines = cluster.kubectl("-n", NAMESPACE, "exec", leader, "--", "python3", "-c", script).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running"))
