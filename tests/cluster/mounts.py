"""Mount points: a folder in which namespaces can be kept, and a small disk."""

from pathlib import Path

from tests.cluster.paths import NAMESPACES, SMALL_VOLUME
from tests.cluster.shell import run

_SMALL = "256m"


def is_mounted(path: Path) -> bool:
    return str(path) in mount_points(Path("/proc/self/mountinfo").read_text())


def mount_points(mountinfo: str) -> set[str]:
    return {line.split()[4].encode().decode("unicode_escape") for line in mountinfo.splitlines()}


def ensure_namespace_folder() -> None:
    """A folder whose mounts propagate nowhere: the kernel refuses to keep a mount namespace in any other."""
    NAMESPACES.mkdir(parents=True, exist_ok=True)
    if not is_mounted(NAMESPACES):
        run("mount", "--bind", str(NAMESPACES), str(NAMESPACES))
    run("mount", "--make-private", str(NAMESPACES))


def remove_namespace_folder() -> None:
    if is_mounted(NAMESPACES):
        run("umount", str(NAMESPACES))


def ensure_small_volume() -> None:
    """Before the nodes' mount namespaces are made: later mounts don't reach them."""
    SMALL_VOLUME.mkdir(parents=True, exist_ok=True)
    if not is_mounted(SMALL_VOLUME):
        run("mount", "-t", "tmpfs", "-o", f"size={_SMALL},mode=1777", "tmpfs", str(SMALL_VOLUME))


def remove_small_volume() -> None:
    if is_mounted(SMALL_VOLUME):
        run("umount", str(SMALL_VOLUME))
