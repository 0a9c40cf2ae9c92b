"""The process tree of a rank. The rank is process 1 of its container: it inherits orphans and must end them all.

Ray's daemons leave the process that started them on purpose. :func:`adopt_orphans` makes that harmless outside of a
container as well: whatever loses its parent becomes a child of this process.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_LAST_WAIT = 10


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception, so that nothing on the way swallows it."""


class Children:
    """Processes that this one started, and the orphans that it was given."""

    def __init__(self) -> None:
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(
        self, command: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a program whose output goes to this process's log."""
        with self._lock:  # else the reaper could take a new child's end for an orphan's
            process = subprocess.Popen(command, env=dict(env), stdin=subprocess.DEVNULL, pass_fds=pass_fds)
            self._started[process.pid] = process
        return process

    def reap_orphans(self) -> None:
        """Collect the ends of children that nobody here waits for."""
        with self._lock:
            self._started = {pid: process for pid, process in self._started.items() if process.poll() is None}
            while (ended := _ended_child()) and ended not in self._started:
                _collect(ended)

    def end_all(self, grace: float = 2) -> None:
        """SIGTERM to the whole tree, SIGKILL after ``grace`` seconds to what is left; returns when nothing runs.

        A process that the kernel itself holds is given up after a while: this rank's end must not wait for it.
        """
        _signal(descendants(), signal.SIGTERM)
        deadline = time.monotonic() + grace
        while (left := descendants()) and time.monotonic() < deadline:
            self.reap_orphans()
            time.sleep(0.05)
        given_up = time.monotonic() + _LAST_WAIT
        while left and time.monotonic() < given_up:
            _signal(left, signal.SIGKILL)
            self.reap_orphans()
            time.sleep(0.05)
            left = descendants()


def adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        print(f"orphans stay with process 1: {os.strerror(ctypes.get_errno())}", file=sys.stderr)  # noqa: T201


def stop_on_signals() -> None:
    """Turn SIGTERM and SIGINT into :class:`Stopped` in the main thread; a second one changes nothing."""

    def stop(number: int, _: object) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)


def running(name: str) -> list[psutil.Process]:
    """Live descendants with this process name."""
    return [process for process in descendants() if name_of(process) == name]


def descendants() -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if not _is_zombie(process)]


def lives(process: psutil.Process) -> bool:
    """Is it still the same process, and none that has ended and waits to be collected?"""
    return bool(process.is_running()) and not _is_zombie(process)


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def name_of(process: psutil.Process) -> str:
    """Empty when it has just ended."""
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _ended_child() -> int:
    """One that waits to be collected, or 0. The kernel is asked: to read what runs on the machine costs far more."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return ended.si_pid if ended else 0


def _collect(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
