"""Nodes that only exist in the API: kwok plays their kubelets, and any pod on them runs at once."""

from pathlib import Path

import yaml

from tests.cluster.daemons import Daemon, stop
from tests.cluster.kubectl import Kubectl
from tests.cluster.paths import ADMIN_KUBECONFIG

LABEL = "hunyuan.dev/fake"
_STAGES = Path(__file__).parent / "manifests/fake-nodes.yaml"
_ANNOTATION = "kwok.x-k8s.io/node"


def add(number: int, binaries: Path, kubectl: Kubectl, pods: int = 110) -> None:
    """Have ``number`` fake nodes for so many pods each; calling it again with more adds the difference."""
    documents = [manifest(f"fake{index}", pods) for index in range(number)]
    kubectl.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(documents))
    kwok = daemon(binaries)
    kwok.ensure()
    try:
        kubectl.kubectl("wait", "node", "-l", LABEL, "--for=condition=Ready", "--timeout=60s")
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{kwok.log_tail()}") from error


def daemon(binaries: Path = Path()) -> Daemon:
    command = (
        str(binaries / "kwok"),
        f"--config={_STAGES}",
        f"--kubeconfig={ADMIN_KUBECONFIG}",
        f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
        "--node-lease-duration-seconds=40",  # else they are lost after 50 s, and their pods are no longer ready
    )
    return Daemon("kwok", command, _STAGES.read_text())


def remove(kubectl: Kubectl) -> None:
    """Before real nodes come: a pod must never land on a fake one by chance."""
    stop([daemon()])
    kubectl.kubectl("delete", "node", "-l", LABEL, "--ignore-not-found")


def manifest(name: str, pods: int = 110) -> dict[str, object]:
    """A node of usual size; one for more pods than usual has GPUs and memory for all of them."""
    large = pods > 110
    resources = {
        "cpu": "4000" if large else "64",
        "memory": "64Ti" if large else "512Gi",
        "pods": str(pods),
        "nvidia.com/gpu": str(pods) if large else "8",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_ANNOTATION: "fake"},
            "labels": {LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "status": {"allocatable": resources, "capacity": resources},
    }
