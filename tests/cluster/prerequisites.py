"""What the machine must have, checked before anything on it is changed."""

import os
import platform
import shutil
import socket
from dataclasses import dataclass

from tests.cluster import binaries, network
from tests.cluster.control_plane import ETCD_PORTS
from tests.cluster.daemons import recorded
from tests.cluster.nodes import Node
from tests.cluster.paths import CACHE
from tests.cluster.shell import run

PROGRAMS = {
    "openssl": "openssl",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
}
"""What even the smallest size calls → the Debian package that brings it."""
NODE_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
"""What nodes and their images need on top."""

GO_BUILD_GB = 8
IMAGES_GB = 28
RUNNING_GB = 4


class PrerequisitesMissing(Exception):
    """The machine can't hold the test bed; nothing on it was changed. The message is one sentence a line."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the machine.

    Attributes:
        go: Go's version, ``None`` without Go.
        binaries_cached: then Go isn't needed.
        images_cached: the nodes' image folders are there; up to date or not, they hold what takes the space.
        absent: programs that are called and not there, as in PROGRAMS and NODE_PROGRAMS.
        running: the test bed runs; its ports and networks are then its own.
        busy_ports: needed ones that something else listens on.
        collisions: routes of the machine into the test bed's networks.
    """

    system: str
    architecture: str
    uid: int
    go: tuple[int, int] | None
    binaries_cached: bool
    images_cached: bool
    free_gb: float
    absent: tuple[str, ...] = ()
    running: bool = False
    busy_ports: tuple[int, ...] = ()
    collisions: tuple[str, ...] = ()


def missing(facts: Facts, nodes: int) -> list[str]:
    """One sentence for each thing that is missing, with what to do about it."""
    if facts.system != "Linux" or facts.architecture != "x86_64":
        return [
            f"The test bed needs Linux on x86_64, and this is {facts.system} on {facts.architecture}: "
            "use a virtual machine, or set CLUSTER=existing to use your current kubeconfig context."
        ]
    problems = []
    if facts.uid != 0:
        problems.append("Nodes need namespaces and mounts: run it as root, or set CLUSTER=existing.")
    if facts.absent:
        problems.append(f"Not installed: {', '.join(facts.absent)}. Run `make packages` as root.")
    if not facts.binaries_cached and (facts.go or (0, 0)) < binaries.GO_VERSION:
        found = f"Go {facts.go[0]}.{facts.go[1]}" if facts.go else "no Go"
        wanted = ".".join(map(str, binaries.GO_VERSION))
        problems.append(f"Kubernetes is built with Go {wanted} or newer and here is {found}: https://go.dev/dl/.")
    if facts.free_gb < (wanted_gb := disk_wanted(facts, nodes)):
        problems.append(
            f"{wanted_gb} GB of disk are needed and {facts.free_gb:.0f} GB are free at {CACHE}: "
            "free some, or set XDG_CACHE_HOME to a folder on a larger disk."
        )
    if not facts.running:
        problems += _taken(facts)
    return problems


def disk_wanted(facts: Facts, nodes: int) -> int:
    """GB; 40 or more for nodes when nothing is cached."""
    go = 0 if facts.binaries_cached else GO_BUILD_GB
    images = IMAGES_GB if nodes and not facts.images_cached else 0
    return go + images + (RUNNING_GB if nodes else 1)


def probe(nodes: int) -> Facts:
    programs = PROGRAMS | (NODE_PROGRAMS if nodes else {})
    running = any(daemon.running() for daemon in recorded())
    linux = platform.system() == "Linux"
    return Facts(
        system=platform.system(),
        architecture=platform.machine(),
        uid=os.geteuid(),
        go=_go_version(),
        binaries_cached=binaries.folder().is_dir(),
        images_cached=all(Node(index).images.is_dir() for index in range(1, nodes + 1)),
        free_gb=_free_gb(),
        absent=tuple(program for program in programs if not available(program)),
        running=running,
        busy_ports=tuple(port for port in (*ETCD_PORTS, network.API_PORT) if _listens(port)),
        collisions=tuple(network.collisions(network.machine_routes())) if linux and available("ip") else (),
    )


def available(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _taken(facts: Facts) -> list[str]:
    problems = []
    if facts.busy_ports:
        ports = ", ".join(map(str, facts.busy_ports))
        problems.append(f"Another program listens on port {ports}: stop it (`ss -ltnp` names it).")
    if facts.collisions:
        routes = ", ".join(facts.collisions)
        problems.append(
            f"The machine has routes into the test bed's networks ({routes}): remove them or use another one."
        )
    return problems


def _go_version() -> tuple[int, int] | None:
    if shutil.which("go") is None:
        return None
    return binaries.parse_go_version(run("go", "version"))


def _free_gb() -> float:
    folder = next(path for path in (CACHE, *CACHE.parents) if path.exists())
    return shutil.disk_usage(folder).free / 1e9


def _listens(port: int) -> bool:
    """Whether the port can't be bound on all addresses, and so not on the test bed's either."""
    with socket.socket() as probe_socket:
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind(("", port))
        except OSError:
            return True
    return False
