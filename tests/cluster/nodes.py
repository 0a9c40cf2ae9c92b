"""A node: a network, mount and UTS namespace of its own in which a containerd, a kubelet and a kube-proxy run."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.paths import CACHE, STATE

IMAGE_NAMESPACE = "k8s.io"
"""The containerd namespace that the kubelet takes its images from."""


@dataclass(frozen=True)
class Node:
    """One node of the test bed by its number, which begins with 1; it need not run."""

    index: int

    @property
    def name(self) -> str:
        return f"node{self.index}"

    @property
    def folder(self) -> Path:
        """What goes when the cluster goes."""
        return STATE / self.name

    @property
    def images(self) -> Path:
        """containerd's root: the node's images, which outlive the cluster."""
        return CACHE / "nodes" / self.name

    def namespace(self, kind: str) -> Path:
        """The file that keeps the node's namespace of that kind (net, mnt, uts) alive without any process in it."""
        return STATE / "namespaces" / f"{self.name}.{kind}"

    def enter(self, *command: str) -> list[str]:
        """``command`` as it has to be called from outside to run on the node."""
        files = [f"--{option}={self.namespace(kind)}" for option, kind in _NSENTER.items()]
        return ["nsenter", *files, *command]

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a command on the node and return what it printed.

        Raises:
            RuntimeError: the command failed; the message holds the command and its stderr.
        """
        done = subprocess.run(self.enter(*command), input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def ctr(self, *args: str) -> str:
        """containerd's own client in the kubelet's namespace, e.g. ``ctr("images", "import", archive)``."""
        return self.run("ctr", "--namespace", IMAGE_NAMESPACE, *args)


_NSENTER = {"net": "net", "mount": "mnt", "uts": "uts"}
