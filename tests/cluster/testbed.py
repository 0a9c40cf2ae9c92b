"""Up, down and status of the whole."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import (
    archive,
    binaries,
    control_plane,
    fake_nodes,
    host,
    images,
    network,
    node_configs,
    node_start,
    prerequisites,
)
from tests.cluster.daemons import recorded, stop
from tests.cluster.kubectl import Kubectl
from tests.cluster.mounts import ensure_small_volume, remove_namespace_folder, remove_small_volume
from tests.cluster.nodes import Node
from tests.cluster.paths import ADMIN_KUBECONFIG, CACHE, MODELS, STATE
from tests.cluster.prerequisites import PrerequisitesMissing
from tests.cluster.waiting import wait_until
from tests.stack import Images

NODES = tuple(Node(index) for index in (1, 2))
GPUS_PER_NODE = 2
"""Declared, not there: two groups of two pods with one GPU each fit on two nodes."""
_MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True)
class Cluster:
    """A cluster to work with: the test bed, or with ``CLUSTER=existing`` one's own.

    Attributes:
        models: the folder of this machine that all nodes see at the same path; ``None`` on a cluster of one's own.
        images: what was loaded into the nodes.
    """

    clients: Kubectl
    images: Images
    kubeconfig: Path | None = None
    models: Path | None = None

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Raises RuntimeError, with the command and its stderr, when it fails."""
        return self.clients.kubectl(*args, stdin=stdin)

    def helm(self, *args: str) -> str:
        """Raises RuntimeError, with the command and its stderr, when it fails."""
        return self.clients.helm(*args)

    def provide_train_image(self) -> None:
        """Bring ``images.train`` to the nodes: apart from the others, so that only tests that train pay for it.

        A cluster of one's own pulls it.
        """
        if self.clients.folder is not None:
            with _lock():
                brought = _provide_train_image(say)
            assert brought == self.images.train, "the sources have changed since the cluster was brought up"

    def add_fake_nodes(self, number: int, pods: int = 110) -> None:
        """Nodes ``fake0`` … on which any pod "runs" at once, until real ones are asked for; see ``fake_nodes``.

        Raises:
            RuntimeError: this is a cluster of one's own.
        """
        if self.clients.folder is None:
            raise RuntimeError("fake nodes are made on the test bed only, not with CLUSTER=existing")
        fake_nodes.add(number, self.clients.folder, self.clients, pods)

    def remove_fake_nodes(self) -> None:
        """Pods that are left on them are Kubernetes' to clear away."""
        fake_nodes.remove(self.clients)


def say(line: str) -> None:
    print(f"    {line}", flush=True)


def up(nodes: int = 2, progress: Callable[[str], None] = say) -> Cluster:
    """Have a cluster of at least ``nodes`` nodes; 0 is the control plane alone.

    What runs already stays as it is; what is missing, or ended, or would be started differently now, is started.

    Raises:
        PrerequisitesMissing: before anything was changed.
    """
    if _existing():
        return Cluster(Kubectl(), Images.from_env(os.environ))
    if problems := prerequisites.missing(prerequisites.probe(nodes), nodes):
        raise PrerequisitesMissing("\n".join(problems))
    begin = time.monotonic()
    with _lock():
        STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
        programs = binaries.ensure(progress)
        clients = Kubectl(programs, ADMIN_KUBECONFIG)
        network.ensure_bridge()
        control_plane.ensure(programs, clients)
        loaded = _start_nodes(NODES[:nodes], clients, progress) if nodes else Images()
    progress(f"cluster is up ({nodes or 'no'} nodes, {time.monotonic() - begin:.0f} s); kubeconfig {ADMIN_KUBECONFIG}")
    return Cluster(clients, loaded, ADMIN_KUBECONFIG, MODELS)


def down(progress: Callable[[str], None] = say) -> None:
    """End the cluster and remove all that it made; caches (programs, images, models) stay."""
    if _existing() or not STATE.exists():
        return
    with _lock():
        stop([fake_nodes.daemon()])
        for node in NODES:
            node_start.stop_node(node)
            progress(f"{node.name} has ended")
        stop([daemon for daemon in recorded() if daemon.name != "etcd"])
        stop(recorded())
        network.remove_bridge()
        remove_namespace_folder()
        remove_small_volume()
        host.restore()
        shutil.rmtree(STATE)
    progress("the control plane has ended")


def status() -> str:
    """One line a component, then the nodes."""
    if _existing():
        return Kubectl().kubectl("get", "nodes", "-o", "wide").rstrip()
    daemons = recorded()
    if not daemons:
        return "The test bed does not run."
    lines = [f"{daemon.name:<26} {_state(daemon.running() is not None)}" for daemon in daemons]
    clients = Kubectl(binaries.folder(), ADMIN_KUBECONFIG)
    try:
        lines += ["", clients.kubectl("--request-timeout=5s", "get", "nodes", "-o", "wide").rstrip()]
    except (RuntimeError, FileNotFoundError) as error:
        lines += ["", str(error)]
    return "\n".join(lines)


def refresh_images(progress: Callable[[str], None] = say, *, train: bool = False) -> Images:
    """Build the images, the training image if asked for, from the sources as they are; bring them to nodes that run."""
    with _lock():
        built = images.ensure(progress)
        if train:
            _provide_train_image(progress)
        for node in _running_nodes():
            images.load_into(node, built, progress)
    return built


def _provide_train_image(progress: Callable[[str], None]) -> str:
    reference = images.ensure_train(progress)
    for node in _running_nodes():
        images.load_train_into(node, reference, progress)
    return reference


def _running_nodes() -> list[Node]:
    return [node for node in NODES if node_start.daemons(node)[0].running()]


def _start_nodes(nodes: tuple[Node, ...], clients: Kubectl, progress: Callable[[str], None]) -> Images:
    assert clients.folder is not None
    fake_nodes.remove(clients)
    MODELS.mkdir(parents=True, exist_ok=True)
    ensure_small_volume()
    for node in nodes:
        node_start.prepare(node, clients.folder)
    network.route(node for node in NODES if node.network.exists())
    system_images = _system_images(clients.folder)
    loaded = images.ensure(progress)
    for node in nodes:
        node_start.start_containerd(node, clients.folder)
        for reference, file in system_images.items():
            if reference not in node.ctr("images", "list", "--quiet").split():
                node.ctr("images", "import", str(file))
        images.load_into(node, loaded, progress)
        node_start.start_kubelet(node, clients.folder)
    coredns = next(reference for reference in system_images if "coredns" in reference)
    manifest = (_MANIFESTS / "coredns.yaml").read_text().replace("COREDNS_IMAGE", coredns)
    clients.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    for node in nodes:
        _declare_ready(node, clients)
    clients.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s")
    return loaded


def _system_images(programs: Path) -> dict[str, Path]:
    """Reference → archive; named by the programs' hash, so that new programs are new images."""
    folder = CACHE / "system-images"
    files = {}
    for program in ("pause", "coredns"):
        reference = node_configs.system_image(program, programs.name)
        files[reference] = folder / f"{program}-{programs.name}.tar"
        if not files[reference].exists():
            partial = folder / f"{program}.partial"
            archive.write(partial, programs / program, reference)
            partial.replace(files[reference])
    return files


def _declare_ready(node: Node, clients: Kubectl) -> None:
    """Wait for the node, and declare its GPUs: what a device plugin does, without devices.

    The kubelet's status updates keep the declaration, but its registration may set it to zero. So a kubelet that was
    just started has to have registered first, which only its log tells: a node's object can be an earlier kubelet's.
    """
    kubelet = node_start.daemons(node)[-1]
    wait_until(
        f"{node.name} has registered",
        lambda: kubelet.has_logged("Successfully registered node"),
        timeout=90,
        state=kubelet.log_tail,
    )
    clients.kubectl("wait", "node", node.name, "--for=condition=Ready", "--timeout=90s")
    patch = f'{{"status":{{"capacity":{{"nvidia.com/gpu":"{GPUS_PER_NODE}"}}}}}}'
    clients.kubectl("patch", "node", node.name, "--subresource=status", "--type=merge", "--patch", patch)


def _existing() -> bool:
    return os.environ.get("CLUSTER") == "existing"


def _state(running: bool) -> str:
    return "running" if running else "ENDED"


@contextmanager
def _lock() -> Iterator[None]:
    """One ``up`` or ``down`` at a time. The lock goes with its process, however that ends."""
    with Path("/run/lock/hunyuan-testbed").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
