"""Mount points, and a folder in which namespaces can be kept."""

from pathlib import Path

from tests.cluster.paths import NAMESPACES
from tests.cluster.shell import run


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
