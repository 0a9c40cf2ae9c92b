"""The product on a cluster, step by step as its users install it; the demo and the cluster tests share these steps.

Everything goes through kubectl and helm, so what works here works on a cluster of one's own.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

ROOT = Path(__file__).parents[1]
SYSTEM_NAMESPACE = "hunyuan-system"
DEMO_NAMESPACE = "hunyuan-demo"
QUESTION = "请按面积大小对四大洋进行排序，并给出面积最小的洋是哪一个？直接输出结果。"
"""The question of the client script that Tencent published with the model."""
ANSWER = "太平洋、大西洋、印度洋、北冰洋；面积最小的是北冰洋。"
"""What the tiny model has learnt to say to it, to the letter (``hunyuan_runtime/tiny/answers.py``)."""

_ASK = """
import json, sys, urllib.error, urllib.request
url, body = sys.argv[1], sys.argv[2].encode()
request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(request, timeout=120).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
    sys.exit(f"HTTP {error.code}")
"""


class Cluster(Protocol):
    def kubectl(self, *args: str, stdin: str | None = None) -> str: ...
    def helm(self, *args: str) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Images:
    operator: str = "localhost/hunyuan-operator:dev"
    serve: str = "localhost/hunyuan-serve:dev"
    train: str = "localhost/hunyuan-train:dev"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Images":
        """``OPERATOR_IMAGE``, ``RUNTIME_IMAGE``, ``TRAIN_IMAGE``: images that somebody's own cluster can pull."""
        return cls(
            operator=env.get("OPERATOR_IMAGE", cls.operator),
            serve=env.get("RUNTIME_IMAGE", cls.serve),
            train=env.get("TRAIN_IMAGE", cls.train),
        )


def install_operator(cluster: Cluster, images: Images) -> None:
    """``helm upgrade --install`` of the chart; returns when the operator is available.

    An installation that was interrupted is taken back first: helm would wait for its end for ever.
    """
    releases = json.loads(cluster.helm("--namespace", SYSTEM_NAMESPACE, "list", "--pending", "--output", "json"))
    for release in releases:
        cluster.helm("--namespace", SYSTEM_NAMESPACE, "uninstall", release["name"], "--wait")
    repository, tag = images.operator.rsplit(":", 1)
    cluster.helm(
        "upgrade", "--install", "hunyuan-operator", str(ROOT / "charts/hunyuan-operator"),
        "--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", "3m",
        # Of CRDs that were applied by kubectl before, maybe of another version.
        "--take-ownership", "--force-conflicts",
        "--set", f"image.repository={repository},image.tag={tag}",
        "--set", f"runtimeImage={images.serve},trainImage={images.train}",
    )  # fmt: skip


def create_namespace(cluster: Cluster, name: str) -> None:
    """A namespace in which the API server refuses every pod that is not Pod Security "restricted"."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def apply(cluster: Cluster, *objects: dict[str, Any]) -> str:
    return cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))


def apply_file(cluster: Cluster, path: Path, namespace: str) -> str:
    return cluster.kubectl("-n", namespace, "apply", "-f", str(path))


def provide_host_volume(cluster: Cluster, folder: Path, namespace: str, claim: str = "models") -> None:
    """A volume of the test bed for a namespace's claim: a folder of this machine, the same on every node."""
    name = f"{claim}-{namespace}"
    phase = cluster.kubectl("get", "pv", name, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
    if phase in ("Released", "Failed"):  # its claim went with an earlier namespace, and it would never bind again
        cluster.kubectl("delete", "pv", name)
    folder.chmod(0o1777)  # pods write as user 10001
    spec = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim},
        "hostPath": {"path": str(folder)},
    }
    apply(cluster, {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})


def provide_tiny_model(cluster: Cluster, namespace: str) -> None:
    """Train the tiny model into the claim ``models`` by a Job; a finished Job of an earlier run is replaced."""
    cluster.kubectl("-n", namespace, "delete", "job", "tiny-model", "--ignore-not-found")
    apply_file(cluster, ROOT / "examples/tiny-model.yaml", namespace)

    def ended() -> str:
        conditions = get(cluster, "job", "tiny-model", namespace).get("status", {}).get("conditions", [])
        return next(
            (c["type"] for c in conditions if c["status"] == "True" and c["type"] in ("Complete", "Failed")), ""
        )

    state = wait_until("the tiny model is trained", ended, timeout=600, state=lambda: diagnosis(cluster, namespace))
    if state != "Complete":
        raise RuntimeError(diagnosis(cluster, namespace))


def get(cluster: Cluster, kind: str, name: str, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("-n", namespace, "get", kind, name, "-o", "json"))
    return found


def list_of(cluster: Cluster, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
    text = cluster.kubectl("-n", namespace, "get", kind, "-l", selector, "-o", "json")
    items: list[dict[str, Any]] = json.loads(text)["items"]
    return items


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type; ``{}`` when it is not there."""
    conditions = resource.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def is_current(resource: dict[str, Any], kind: str, status: str) -> bool:
    """Whether the condition has that status, for the newest generation of the spec."""
    found = condition(resource, kind)
    return found.get("status") == status and found.get("observedGeneration") == resource["metadata"]["generation"]


def wait_until(what: str, check: Callable[[], Any], *, timeout: float, state: Callable[[], str] = lambda: "") -> Any:
    """Poll ``check`` each second until it gives something true, and return that.

    Raises:
        TimeoutError: with ``what`` and the last ``state()``.
    """
    deadline = time.monotonic() + timeout
    while not (result := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s: {what}\n{state()}")
        time.sleep(1)
    return result


def wait_condition(
    cluster: Cluster, name: str, namespace: str, expected: tuple[str, str], *, timeout: float
) -> dict[str, Any]:
    """Wait until a condition of a HunyuanDeployment, given as (type, status), is so for its newest generation."""
    kind, status = expected
    seen: dict[str, Any] = {}

    def check() -> bool:
        seen.update(get(cluster, "hunyuandeployment", name, namespace))
        return is_current(seen, kind, status)

    wait_until(f"{name}: {kind}={status}", check, timeout=timeout, state=lambda: yaml.safe_dump(seen.get("status", {})))
    return seen


def summary(resource: dict[str, Any]) -> str:
    """One line on how far a HunyuanDeployment is: each group's state, and what the Ready condition says."""
    groups = resource.get("status", {}).get("groupStatuses", [])
    states = ", ".join(f"group {g['index']} {g.get('state') or 'Pending'}" for g in groups) or "no groups yet"
    ready = condition(resource, "Ready")
    return f"{states} · {ready.get('reason', 'not seen yet')}: {ready.get('message', '')}".rstrip(": ")


def chat(cluster: Cluster, name: str, question: str, namespace: str, images: Images) -> str:
    """Ask over the Service's ClusterIP, from a pod of its own, and return the answer's text.

    Raises:
        AssertionError: the client pod failed; its output is the message.
    """
    return chat_at(cluster, f"{name}.{namespace}.svc", (name, question), namespace, images)


def chat_at(cluster: Cluster, host: str, ask: tuple[str, str], namespace: str, images: Images) -> str:
    """Like :func:`chat`, to one host; ``ask`` is the served model's name and the question."""
    name, question = ask
    message = {"role": "user", "content": question}
    body = {"model": name, "messages": [message], "temperature": 0, "max_tokens": 96}
    url = f"http://{host}:8000/v1/chat/completions"
    output = run_in_pod(cluster, ["python3", "-c", _ASK, url, json.dumps(body)], namespace, images.operator)
    answer: str = json.loads(output)["choices"][0]["message"]["content"]
    return answer


def run_in_pod(cluster: Cluster, command: list[str], namespace: str, image: str) -> str:
    """Run one command in a fresh restricted pod and return what it printed."""
    pod = f"ask-{time.time_ns() % 10**9}"
    apply(cluster, client_pod(pod, command, namespace, image))
    try:
        phase = wait_until(
            f"pod {pod} ended",
            lambda: {"Succeeded": "ok", "Failed": "failed"}.get(get(cluster, "pod", pod, namespace)["status"]["phase"]),
            timeout=180,
            state=lambda: cluster.kubectl("-n", namespace, "describe", "pod", pod),
        )
        output = cluster.kubectl("-n", namespace, "logs", pod)
    finally:
        cluster.kubectl("-n", namespace, "delete", "pod", pod, "--wait=false")
    assert phase == "ok", output
    return output


def client_pod(name: str, command: list[str], namespace: str, image: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": command,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def diagnosis(cluster: Cluster, namespace: str) -> str:
    """Pods, resources, events and logs of a namespace and of the operator, for a failure's report."""
    parts = [
        cluster.kubectl("get", "nodes", "-o", "wide"),
        cluster.kubectl("-n", namespace, "get", "hyd,pods,services,pvc", "-o", "wide"),
        cluster.kubectl("-n", namespace, "get", "hyd", "-o", "yaml"),
        cluster.kubectl("-n", namespace, "get", "events", "--sort-by=.lastTimestamp"),
    ]
    for space, tail in ((namespace, 60), (SYSTEM_NAMESPACE, 120)):
        for pod in list_of(cluster, "pods", space):
            name = pod["metadata"]["name"]
            parts.append(f"--- log of {space}/{name}\n" + _log(cluster, name, space, tail))
    return "\n".join(parts)


def _log(cluster: Cluster, pod: str, namespace: str, tail: int) -> str:
    try:
        return cluster.kubectl("-n", namespace, "logs", pod, f"--tail={tail}")
    except RuntimeError as error:
        return str(error)
