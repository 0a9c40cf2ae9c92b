"""Start and stop of one node."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

from tests.cluster import cgroups, host, network, node_configs
from tests.cluster.daemons import Daemon, stop
from tests.cluster.mounts import ensure_namespace_folder, is_mounted
from tests.cluster.network import PODS
from tests.cluster.nodes import Node
from tests.cluster.paths import KUBECONFIGS
from tests.cluster.shell import run
from tests.cluster.waiting import wait_until

_OWN_FOLDERS = {
    "kubelet": Path("/var/lib/kubelet"),
    "run": Path("/run/containerd"),
    "cni": Path("/etc/cni/net.d"),
    "pod-logs": Path("/var/log/pods"),
    "container-logs": Path("/var/log/containers"),
}
"""A node's folder → where its components expect it."""
_IMAGES = Path("/var/lib/containerd")
_EMPTY_FOLDERS = (Path("/var/lib/cni"), Path("/run/netns"))


def prepare(node: Node, binaries: Path) -> None:
    """Network, mounts, cgroup and configuration; what is there already stays."""
    host.remember([*_OWN_FOLDERS.values(), _IMAGES, *_EMPTY_FOLDERS])
    ensure_namespace_folder()
    network.connect(node)
    _mount(node)
    cgroups.create(node.cgroup)
    (node.folder / "containerd.toml").write_text(_containerd_config(binaries))
    (node.folder / "kubelet.yaml").write_text(node_configs.kubelet(node))
    (node.folder / "cni/10-pods.conflist").write_text(node_configs.pod_network(node))


def start_containerd(node: Node, binaries: Path) -> None:
    """Returns when it answers. In a new cluster it first forgets the containers of the one before."""
    containerd = daemons(node, binaries)[0]
    belongs_to_cluster = node.folder / "belongs-to-cluster"
    _start(containerd, node)
    if not belongs_to_cluster.exists():
        if _remove_containers(node):
            stop([containerd])  # what it still remembers of them it would offer to the kubelet
            _start(containerd, node)
        belongs_to_cluster.touch()


def start_kubelet(node: Node, binaries: Path) -> None:
    for daemon in daemons(node, binaries)[1:]:
        daemon.ensure()


def daemons(node: Node, binaries: Path = Path()) -> list[Daemon]:
    """containerd, kube-proxy, kubelet; each is the same process from ``nsenter`` on, which replaces itself."""
    containerd = node.enter("containerd", "--config", str(node.folder / "containerd.toml"))
    proxy = node.enter(
        str(binaries / "kube-proxy"), f"--kubeconfig={KUBECONFIGS / 'kube-proxy'}", f"--hostname-override={node.name}",
        "--proxy-mode=iptables", f"--cluster-cidr={PODS}",
        "--conntrack-max-per-core=0",  # the limit is the machine's, not a namespace's
    )  # fmt: skip
    kubelet = node.enter(
        str(binaries / "kubelet"), f"--config={node.folder / 'kubelet.yaml'}",
        f"--kubeconfig={KUBECONFIGS / node.name}", f"--hostname-override={node.name}",
        f"--node-ip={node.address}", "--v=2",
    )  # fmt: skip
    return [
        Daemon(f"{node.name}-containerd", tuple(containerd), _containerd_config(binaries)),
        Daemon(f"{node.name}-kube-proxy", tuple(proxy)),
        Daemon(f"{node.name}-kubelet", tuple(kubelet), node_configs.kubelet(node)),
    ]


def stop_node(node: Node) -> None:
    """End everything of the node. Its images stay.

    The kubelet goes first, since it would start anew what ends.
    """
    containerd, proxy, kubelet = daemons(node)
    stop([kubelet, proxy])
    cgroups.kill(node.cgroup)
    stop([containerd])
    _end_shims(node)
    cgroups.remove(node.cgroup)
    if is_mounted(node.mounts):
        run("umount", str(node.mounts))
    network.disconnect(node)


def _mount(node: Node) -> None:
    """The mount namespace. One that an interrupted start left half made is thrown away."""
    complete = node.folder / "mounted"
    if is_mounted(node.mounts):
        if complete.exists():
            return
        run("umount", str(node.mounts))
    complete.unlink(missing_ok=True)
    for name in _OWN_FOLDERS:
        (node.folder / name).mkdir(parents=True, exist_ok=True)
    node.images.mkdir(parents=True, exist_ok=True)
    node.mounts.touch()
    script = [f"mount --bind {shlex.quote(str(node.images))} {_IMAGES}"]
    script += [f"mount --bind {node.folder / name} {place}" for name, place in _OWN_FOLDERS.items()]
    script += [f"mount --make-rshared {_OWN_FOLDERS['kubelet']}"]
    script += [f"mount -t tmpfs tmpfs {folder}" for folder in _EMPTY_FOLDERS]
    run("unshare", f"--mount={node.mounts}", "--propagation=private", "sh", "-euc", "\n".join(script))
    complete.touch()


def _containerd_config(binaries: Path) -> str:
    return node_configs.containerd(node_configs.system_image("pause", binaries.name))


def _start(containerd: Daemon, node: Node) -> None:
    containerd.ensure()
    wait_until(f"{node.name}'s containerd answers", lambda: _answers(node), timeout=60, state=containerd.log_tail)


def _answers(node: Node) -> bool:
    return subprocess.run(node.enter("ctr", "version"), capture_output=True, check=False).returncode == 0


def _remove_containers(node: Node) -> bool:
    """Whether there were any. Their processes ended with their cluster."""
    containers = node.ctr("containers", "list", "--quiet").split()
    if containers:
        node.ctr("containers", "delete", *containers)
    return bool(containers)


def _end_shims(node: Node) -> None:
    """Shims are the only processes left in the node's mount namespace, and nobody else's are in it."""
    if not is_mounted(node.mounts):
        return
    namespace = node.mounts.stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/mnt").stat().st_ino == namespace:
                os.kill(int(process.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or it is one that even root may not look into, and so not ours
