"""A node: a network and a mount namespace of its own in which a containerd, a kubelet and a kube-proxy run."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.paths import CACHE, NAMESPACES, STATE

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

    @property
    def address(self) -> str:
        return f"172.30.0.{10 + self.index}"

    @property
    def pods(self) -> str:
        """The addresses of the node's pods."""
        return f"10.244.{self.index}.0/24"

    @property
    def cgroup(self) -> str:
        """The parent of all pods' cgroups; shared by two kubelets, each would delete the other's pods."""
        return f"hunyuan-{self.name}"

    @property
    def network(self) -> Path:
        """The file that keeps the network namespace alive without a process in it."""
        return NAMESPACES / f"{self.name}.net"

    @property
    def mounts(self) -> Path:
        """The same for the mounts, so that a restarted component finds those of its predecessor."""
        return NAMESPACES / f"{self.name}.mnt"

    def enter(self, *command: str) -> list[str]:
        """``command`` as it has to be called from outside to run on the node."""
        return ["nsenter", f"--net={self.network}", f"--mount={self.mounts}", *command]

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
