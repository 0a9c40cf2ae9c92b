"""A cgroup per node, the parent of its pods' cgroups, in every hierarchy that the machine mounts."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def hierarchies(mountinfo: str) -> list[tuple[Path, bool]]:
    """Mount points of all hierarchies, and whether each is version 2."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if (kind := after.split()[0]) in ("cgroup", "cgroup2"):
            found.append((Path(before.split()[4]), kind == "cgroup2"))
    return found


def create(name: str) -> None:
    """Where version 1 is mounted, a version 2 beside it holds no controllers, and needs no cgroup from us."""
    mounted = _mounted()
    version1 = [entry for entry in mounted if not entry[1]]
    for root, unified in version1 or mounted:
        folder = root / name
        if unified:
            _delegate(root)
        folder.mkdir(exist_ok=True)
        if (folder / "cpuset.cpus").exists() and not unified:  # version 1 starts empty, and then takes no process
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((root / file).read_text())


def kill(name: str, patience: float = 20) -> None:
    """End every process in the cgroup and below: containers survive the end of containerd and of their shims.

    Raises:
        TimeoutError: some process can't be ended.
    """
    deadline = time.monotonic() + patience
    while pids := processes(name):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of cgroup {name} do not end: {sorted(pids)}")
        time.sleep(0.05)


def processes(name: str) -> set[int]:
    pids: set[int] = set()
    for folder in _folders(name):
        with suppress(OSError):  # a pod's cgroup that went meanwhile
            pids.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    return pids


def remove(name: str) -> None:
    """Remove the empty cgroup and all below it, the deepest first."""
    for folder in _folders(name):
        with suppress(FileNotFoundError):
            folder.rmdir()


def _folders(name: str) -> Iterator[Path]:
    """The cgroup and all below it, the deepest first, in every hierarchy; os.walk passes over what goes meanwhile."""
    for root, _ in _mounted():
        for folder, _, _ in os.walk(root / name, topdown=False):
            yield Path(folder)


def _mounted() -> list[tuple[Path, bool]]:
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def _delegate(root: Path) -> None:
    """Let children of the version 2 root use its controllers."""
    available = (root / "cgroup.controllers").read_text().split()
    enabled = (root / "cgroup.subtree_control").read_text().split()
    if missing := [f"+{name}" for name in available if name not in enabled]:
        (root / "cgroup.subtree_control").write_text(" ".join(missing))
