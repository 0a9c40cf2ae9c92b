"""Processes of this rank that something has stopped: the kernel has them, but won't let them run."""

from collections.abc import Callable, Iterable

import psutil

from hunyuan_runtime.processes import descendants

LASTING = 2.0
"""Seconds. A debugger that attaches stops a process for a moment."""


class StoppedProcesses:
    """Remembers since when each has been stopped."""

    def __init__(self, processes: Callable[[], Iterable[psutil.Process]] = descendants) -> None:
        self._processes = processes
        self._since: dict[int, float] = {}

    def look(self, now: float) -> str:
        """A sentence on one that has been stopped for long; empty when none has."""
        stopped = {process.pid: name for process in self._processes() if (name := _name_if_stopped(process))}
        self._since = {pid: self._since.get(pid, now) for pid in stopped}
        lasting = [pid for pid, since in self._since.items() if now - since >= LASTING]
        if not lasting:
            return ""
        pid = min(lasting, key=lambda pid: self._since[pid])
        return f"process {pid} ({stopped[pid]}) has been stopped for {now - self._since[pid]:.0f} s"


def _name_if_stopped(process: psutil.Process) -> str:
    try:
        return str(process.name()) if process.status() == psutil.STATUS_STOPPED else ""
    except psutil.NoSuchProcess:
        return ""
