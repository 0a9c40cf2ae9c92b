"""How a rank ends: one exit code and one JSON message for each cause.

The kubelet copies the message into the pod's status, where the operator reads it. Exit codes stay below 126, so that a
shell's and a signal's own codes (126, 127, 128 + n) never mean one of ours.

``retryable`` says whether the same group can succeed without a change by the user: a missing folder can't, a lost
leader can.
"""

from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MESSAGE_LIMIT = 4096
"""Bytes of a termination message that the kubelet keeps (kubelet, ``MaxContainerTerminationMessageLength``)."""


class Cause(Enum):
    """``(exit code, a retry can help)``; the name in CamelCase is the reason in conditions and Events."""

    ConfigInvalid = (64, False)
    ModelNotFound = (65, False)
    CheckpointInvalid = (66, False)
    TokenizerInvalid = (67, False)
    QuantizationUnsupported = (68, False)
    LeaderUnreachable = (70, True)
    RanksMissing = (71, True)
    RayFailed = (72, True)
    EngineFailed = (73, True)
    LeaderLost = (74, True)
    WorkerDied = (75, True)

    @property
    def exit_code(self) -> int:
        return self.value[0]

    @property
    def retryable(self) -> bool:
        return self.value[1]


class RuntimeFailure(Exception):
    """A rank can't go on; ``python -m hunyuan_runtime.serve`` turns it into an exit code and a message."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class TerminationMessage(BaseModel):
    """The JSON that a rank leaves in its termination log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    message: str
    retryable: bool
    rank: int = Field(ge=0)

    @classmethod
    def of(cls, failure: RuntimeFailure, rank: int) -> "TerminationMessage":
        return cls(reason=failure.cause.name, message=str(failure), retryable=failure.cause.retryable, rank=rank)

    @classmethod
    def parse(cls, text: str) -> "TerminationMessage | None":
        """None when the text is not one of ours (empty, a log tail, another program's)."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def write(self, path: Path) -> None:
        """Write at most :data:`MESSAGE_LIMIT` bytes of valid JSON; a longer ``message`` loses its middle."""
        text = self.model_dump_json()
        keep = len(self.message)
        while len(text.encode()) > MESSAGE_LIMIT:
            keep = keep * 3 // 4
            short = f"{self.message[: keep // 2]} … {self.message[-(keep // 2) :]}"
            text = self.model_copy(update={"message": short}).model_dump_json()
        path.write_text(text)
