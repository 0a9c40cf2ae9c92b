"""The test bed itself, on the machine. The last test ends the cluster and starts it anew, without what ran on it."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cluster as testbed
from tests import stack
from tests.cluster import binaries, host
from tests.cluster.daemons import Daemon, Identity, recorded
from tests.cluster.paths import STATE
from tests.cluster.testbed import GPUS_PER_NODE, NODES
from tests.cluster.waiting import wait_until

NAMESPACE = "testbed-test"
UP_AGAIN_S = 60
"""What ``up`` may take once programs and images are cached."""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.environ.get("CLUSTER") == "existing", reason="tests the test bed, which isn't used"),
]


@pytest.fixture(scope="module")
def cluster() -> testbed.Cluster:
    return testbed.up(nodes=2)


@pytest.fixture(scope="module")
def server(cluster: testbed.Cluster) -> Iterator[str]:
    """A web server on the first node, by the name of its Service."""
    stack.create_namespace(cluster, NAMESPACE)
    command = ["python3", "-m", "http.server", "8080", "--directory", "/etc"]
    pod = stack.client_pod("web", command, NAMESPACE, cluster.images.operator)
    pod["metadata"]["labels"] = {"app": "web"}
    pod["spec"]["nodeName"] = NODES[0].name
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    stack.apply(cluster, pod, service)
    cluster.kubectl("-n", NAMESPACE, "wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    yield f"web.{NAMESPACE}.svc"
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


def running() -> dict[str, Identity | None]:
    return {daemon.name: daemon.running() for daemon in recorded()}


def python(cluster: testbed.Cluster, code: str, node: str) -> str:
    """Run Python code in a fresh pod on one node and return what it printed."""
    pod = stack.client_pod(
        f"client-{time.time_ns() % 10**9}", ["python3", "-c", code], NAMESPACE, cluster.images.operator
    )
    pod["spec"]["nodeName"] = node
    name = pod["metadata"]["name"]
    stack.apply(cluster, pod)
    phase = "{.status.phase}"
    wait_until(
        f"{name} ended",
        lambda: (
            cluster.kubectl("-n", NAMESPACE, "get", "pod", name, "-o", f"jsonpath={phase}") in ("Succeeded", "Failed")
        ),
        timeout=60,
        state=lambda: cluster.kubectl("-n", NAMESPACE, "describe", "pod", name),
    )
    return cluster.kubectl("-n", NAMESPACE, "logs", name).strip()


def fetch(url: str) -> str:
    """Code that tries for some seconds: a new Service reaches the nodes' rules a moment after its pod is ready."""
    return f"""
import time, urllib.request
for attempt in range(40):
    try:
        print(urllib.request.urlopen("{url}", timeout=5).status)
        break
    except OSError as error:
        time.sleep(0.25)
else:
    print(error)
"""


def test_every_component_runs_and_status_says_so(cluster: testbed.Cluster) -> None:
    names = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    names += [f"{node.name}-{part}" for node in NODES for part in ("containerd", "kube-proxy", "kubelet")]
    lines = testbed.status().splitlines()
    assert {tuple(line.split()) for line in lines[: len(names)]} == {(name, "running") for name in names}


def test_up_leaves_alone_what_runs(cluster: testbed.Cluster) -> None:
    before = running()
    assert testbed.up(nodes=2) == cluster
    testbed.up(nodes=0)
    assert running() == before


@pytest.mark.parametrize("node", [node.name for node in NODES])
def test_a_service_is_reached_by_name_from_every_node(cluster: testbed.Cluster, server: str, node: str) -> None:
    assert python(cluster, fetch(f"http://{server}/hostname"), node) == "200"


def test_a_name_outside_the_cluster_is_denied_at_once(cluster: testbed.Cluster, server: str) -> None:
    code = """
import socket, time
begin = time.monotonic()
try:
    socket.getaddrinfo("huggingface.co", 443)
except socket.gaierror as error:
    print(error.errno == socket.EAI_NONAME, time.monotonic() - begin < 2)
"""
    assert python(cluster, code, "node2") == "True True"


def test_a_pod_reaches_the_api_server_through_its_service(cluster: testbed.Cluster, server: str) -> None:
    """Without a token the answer is "forbidden" or "unauthorized": whose answer it is, is what counts."""
    code = """
import ssl, urllib.error, urllib.request
context = ssl._create_unverified_context()
try:
    urllib.request.urlopen("https://kubernetes.default.svc/api", timeout=5, context=context)
except urllib.error.HTTPError as error:
    print(error.code in (401, 403))
"""
    assert python(cluster, code, "node1") == "True"


def test_nodes_offer_gpus_and_run_the_pinned_version(cluster: testbed.Cluster) -> None:
    for node in stack.list_of(cluster, "nodes", "default"):
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == str(GPUS_PER_NODE)
        version = binaries.kubernetes_version((binaries.TOOLS / "go.mod").read_text())
        assert node["status"]["nodeInfo"]["kubeletVersion"] == version


def test_the_admins_kubeconfig_is_private(cluster: testbed.Cluster) -> None:
    assert cluster.kubeconfig is not None
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600


def test_a_failed_command_tells_itself_and_why(cluster: testbed.Cluster) -> None:
    with pytest.raises(RuntimeError, match=r'kubectl get pod absent: .*pods "absent" not found'):
        cluster.kubectl("get", "pod", "absent")
    with pytest.raises(RuntimeError, match=r"helm status absent: .*not found"):
        cluster.helm("status", "absent")


@pytest.mark.parametrize(
    "name", ["node1-kubelet", "node1-containerd", "node1-kube-proxy", "kube-scheduler", "kube-apiserver", "etcd"]
)
def test_up_starts_a_killed_component_and_pods_go_on(cluster: testbed.Cluster, server: str, name: str) -> None:
    def web() -> tuple[str, int]:
        status = stack.get(cluster, "pod", "web", NAMESPACE)["status"]["containerStatuses"][0]
        return status["containerID"], status["restartCount"]

    pod, before = web(), running()
    killed = before[name]
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    wait_until("it is dead", lambda: Daemon(name).running() is None, timeout=5)
    assert f"{name:<26} ENDED" in testbed.status()

    testbed.up(nodes=2)

    after = running()
    assert None not in after.values()
    assert {other for other in before if before[other] != after[other]} == {name}
    assert web() == pod
    assert python(cluster, fetch(f"http://{server}/hostname"), "node1") == "200"
    for node in stack.list_of(cluster, "nodes", "default"):
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == str(GPUS_PER_NODE)


def test_fake_nodes_run_any_pod_and_go_when_real_ones_are_asked_for(cluster: testbed.Cluster) -> None:
    cluster.add_fake_nodes(2)
    stack.create_namespace(cluster, "fake-test")
    pod = stack.client_pod("big", ["unused"], "fake-test", "no/such:image")
    pod["spec"]["nodeName"] = "fake1"
    stack.apply(cluster, pod)
    cluster.kubectl("-n", "fake-test", "wait", "pod/big", "--for=condition=Ready", "--timeout=30s")
    cluster.kubectl("delete", "namespace", "fake-test")
    testbed.up(nodes=2)
    names = [node["metadata"]["name"] for node in stack.list_of(cluster, "nodes", "default")]
    assert names == [node.name for node in NODES]


def test_down_leaves_nothing_and_an_interrupted_up_goes_on(cluster: testbed.Cluster, server: str) -> None:
    settings = json.loads((STATE / "machine.json").read_text())["settings"]
    namespaces = {file.stat().st_ino for node in NODES for file in (node.mounts, node.network)}
    testbed.down()
    assert traces() == []
    assert [pid for pid in _pids() if _namespaces(pid) & namespaces] == []
    assert {name: (Path("/proc/sys") / name).read_text() for name in host.KERNEL_SETTINGS} == settings
    testbed.down()  # there is nothing to end, and that is no error

    command = [sys.executable, "-m", "tests.cluster", "up"]
    with subprocess.Popen(command, cwd=stack.ROOT, stdout=subprocess.DEVNULL) as first:
        wait_until("its first node exists", NODES[0].network.exists, timeout=60)
        first.kill()

    begin = time.monotonic()
    again = testbed.up(nodes=2)
    assert time.monotonic() - begin < UP_AGAIN_S
    assert None not in running().values()
    assert again.kubectl("get", "pods", "--all-namespaces", "-o", "name").count("pod/") == 1, "only the DNS server"


def traces() -> list[str]:
    """Whatever on the machine shows the test bed's names; looked for without its own code."""
    lines = {f"process {pid}": [_command(pid)] for pid in _pids()}
    for command in ("ip -br link", "ip route", "ip netns", "iptables-save", "cat /proc/self/mountinfo"):
        output = subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
        lines[command] = output.splitlines()
    names = ("hunyuan0", "hunyuan-node", "hunyuan-testbed", str(binaries.folder()))
    found = [f"{where}: {line}" for where in lines for line in lines[where] if any(name in line for name in names)]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("**/hunyuan-*")]
    return found + ([str(STATE)] if STATE.exists() else [])


def _pids() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*"))


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it ended meanwhile


def _namespaces(process: Path) -> set[int]:
    """By these also a container's shim is found, whose command line names nothing of the test bed's."""
    try:
        return {(process / "ns" / kind).stat().st_ino for kind in ("mnt", "net")}
    except OSError:
        return set()  # it ended meanwhile, or even root may not look into it
