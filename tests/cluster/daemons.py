"""Programs that outlive the process that starts them, and are found again by a record on disk.

A record holds the process id together with the boot and the clock tick at which the process started, so that a recycled
id is never taken for the daemon, and signals go through a pidfd, so that not even a race can hit another process.
"""

import hashlib
import json
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.paths import LOGS, STATE

RECORDS = STATE / "daemons"
_STARTED: list[subprocess.Popen[bytes]] = []
"""Keeps the handles, so that Python does not warn of a child that is meant to go on."""


@dataclass(frozen=True)
class Identity:
    """One process, for ever: ids are recycled, the pair of boot and start tick is not."""

    pid: int
    boot: str
    tick: int


def parse_stat(stat: str) -> tuple[str, int]:
    """State and start tick out of ``/proc/PID/stat``; the program's name in it may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def identify(pid: int) -> Identity | None:
    """``None`` when there is no such process, or only its remains that nobody has reaped."""
    try:
        state, tick = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in "ZX" else Identity(pid, boot, tick)


@dataclass(frozen=True)
class Daemon:
    """A program that shall run.

    Attributes:
        inputs: contents of the files that the program reads at its start; when they change, it is restarted.
    """

    name: str
    command: tuple[str, ...] = ()
    inputs: str = ""

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return RECORDS / f"{self.name}.json"

    @property
    def _fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self.command, self.inputs]).encode()).hexdigest()

    def running(self) -> Identity | None:
        if not self._record.exists():
            return None
        record = json.loads(self._record.read_text())
        identity = Identity(record["pid"], record["boot"], record["tick"])
        return identity if identify(identity.pid) == identity else None

    def ensure(self) -> bool:
        """Start it unless it runs as described; whether it had to be started."""
        if self.running():
            if json.loads(self._record.read_text())["fingerprint"] == self._fingerprint:
                return False
            stop([self])
        self._start()
        return True

    def _start(self) -> None:
        for folder in (LOGS, RECORDS):
            folder.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd="/", env=_environment(), start_new_session=True,
            )  # fmt: skip
        _STARTED.append(process)
        identity = identify(process.pid)
        if identity is None:
            raise RuntimeError(f"{self.name} ended at once:\n{self.log_tail()}")
        record = {**vars(identity), "fingerprint": self._fingerprint}
        partial = self._record.with_suffix(".partial")
        partial.write_text(json.dumps(record))
        partial.replace(self._record)

    def log_tail(self, lines: int = 15) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def has_logged(self, text: str) -> bool:
        """Whether it has, since its start."""
        with self.log.open(errors="replace") as lines:
            return any(text in line for line in lines)

    def forget(self) -> None:
        self._record.unlink(missing_ok=True)


def recorded() -> list[Daemon]:
    """All daemons that were ever started and not stopped, running or not."""
    return [Daemon(path.stem) for path in sorted(RECORDS.glob("*.json"))]


def stop(daemons: list[Daemon], patience: float = 20) -> None:
    """End them: all are asked at once, and who has not ended after ``patience`` seconds is killed."""
    handles = [(daemon, handle) for daemon in daemons if (handle := _open(daemon)) is not None]
    try:
        for _, handle in handles:
            _signal(handle, signal.SIGTERM)
        deadline = time.monotonic() + patience
        for _, handle in handles:
            if not _ended(handle, deadline - time.monotonic()):
                _signal(handle, signal.SIGKILL)
                _ended(handle, patience)
    finally:
        for _, handle in handles:
            os.close(handle)
    for daemon in daemons:
        daemon.forget()


def _open(daemon: Daemon) -> int | None:
    """A pidfd of the running daemon. Identified after it was opened: from then on the id can't mean another process."""
    identity = daemon.running()
    if identity is None:
        return None
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if identify(identity.pid) == identity:
        return handle
    os.close(handle)
    return None


def _signal(handle: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return  # it ended by itself meanwhile


def _ended(handle: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(timeout, 0) * 1000))


def _environment() -> dict[str, str]:
    """Nothing of the caller's but PATH: a proxy or a kubeconfig of theirs must not reach the cluster."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin", "HOME": "/root"}
