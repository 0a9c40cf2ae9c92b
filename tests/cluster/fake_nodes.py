"""Nodes that only exist in the API: kwok plays their kubelets, and any pod on them runs at once."""

from pathlib import Path

import yaml

from tests.cluster.daemons import Daemon, stop
from tests.cluster.kubectl import Kubectl
from tests.cluster.paths import ADMIN_KUBECONFIG

LABEL = "hunyuan.dev/fake"
_ANNOTATION = "kwok.x-k8s.io/node"


def add(number: int, binaries: Path, kubectl: Kubectl) -> None:
    """Have ``number`` fake nodes; calling it again with more adds the difference."""
    documents = [manifest(f"fake{index}") for index in range(number)]
    kubectl.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(documents))
    Daemon(
        "kwok",
        (
            str(binaries / "kwok"),
            f"--kubeconfig={ADMIN_KUBECONFIG}",
            f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
        ),
    ).ensure()
    kubectl.kubectl("wait", "node", "-l", LABEL, "--for=condition=Ready", "--timeout=60s")


def remove(kubectl: Kubectl) -> None:
    """Before real nodes come: a pod must never land on a fake one by chance."""
    stop([Daemon("kwok")])
    kubectl.kubectl("delete", "node", "-l", LABEL, "--ignore-not-found")


def manifest(name: str) -> dict[str, object]:
    resources = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"}
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
