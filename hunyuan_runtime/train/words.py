"""What a worker process tells its pod's main process: one JSON line a word, over a pipe that only the two share."""

import os

from pydantic import BaseModel, ConfigDict

from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from hunyuan_runtime.train_config import StageReport, TrainStatus


class Word(BaseModel):
    """Exactly one of the three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: TrainStatus | None = None
    report: StageReport | None = None
    failure: TerminationMessage | None = None


class WordWriter:
    """The worker's end. A main process that has gone ends the worker by other means than an error here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, word: Word) -> None:
        line = word.model_dump_json(exclude_none=True).encode() + b"\n"
        while line:
            line = line[os.write(self._fd, line) :]


class WordReader:
    """The main process's end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._rest = b""

    def read(self) -> list[Word]:
        """What has come; waits if nothing has. After the last word ``ended`` is true."""
        chunk = os.read(self.fd, 65536)
        self.ended = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [Word.model_validate_json(line) for line in lines]


def as_failure(message: TerminationMessage) -> RuntimeFailure:
    return RuntimeFailure(Cause[message.reason], message.message, message.ranks)
