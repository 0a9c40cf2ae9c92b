"""What the Ray driver tells the leader: one JSON line a report, over a pipe that only the two share."""

import os
import select
import signal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hunyuan_runtime.termination import Cause, RuntimeFailure

DRAIN_SIGNAL = signal.SIGUSR1
"""By which the leader asks its driver for a drain: SIGTERM is Ray's own."""


class Report(BaseModel):
    """``joining``: who is in Ray. ``loading``: all are. ``progress``: how far. ``loaded``: the engine is up.

    ``drained``: it may go, since every request has had its answer. The others are ends.
    """

    model_config = ConfigDict(frozen=True)

    event: Literal["joining", "loading", "progress", "loaded", "drained", "rank-died", "failed"]
    ranks: list[int] = []
    """``joining``: all ranks in Ray; ``rank-died``: the one."""
    addresses: dict[int, str] = {}
    """``loading``: of all ranks."""
    pid: int = 0
    """``rank-died``: of the engine process, on that rank's node."""
    done: int = 0
    total: int = 0
    """``progress``: bytes of the checkpoint."""
    cause: str = ""
    message: str = ""

    @classmethod
    def failure(cls, failure: RuntimeFailure) -> "Report":
        return cls(event="failed", cause=failure.cause.name, message=str(failure))

    def as_failure(self) -> RuntimeFailure:
        return RuntimeFailure(Cause[self.cause], self.message)


class ReportReader:
    """The leader's end of the pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def read(self, timeout: float) -> list[Report]:
        """Reports that have come, after waiting at most ``timeout`` seconds for the first."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return []
        chunk = os.read(self._fd, 65536)
        if not chunk:  # the driver is gone and could not say why
            return [Report.failure(RuntimeFailure(Cause.RayFailed, "the driver beside Ray ended without a word"))]
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [Report.model_validate_json(line) for line in lines]


class ReportWriter:
    """The driver's end of the pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, report: Report) -> None:
        os.write(self._fd, report.model_dump_json().encode() + b"\n")
