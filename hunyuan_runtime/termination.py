"""How a rank ends: one exit code and one JSON message for each cause.

The kubelet copies the message into the pod's status, where the operator reads it. Exit codes stay below 126, so that a
shell's and a signal's own codes (126, 127, 128 + n) never mean one of ours.

``retryable`` says whether the same group can succeed without a change by the user: a missing folder can't, a lost
leader can.
"""

import sys
import traceback
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MESSAGE_LIMIT = 4096
"""Bytes of a termination message that the kubelet keeps (kubelet, ``MaxContainerTerminationMessageLength``)."""


class Cause(Enum):
    """``(exit code, a retry can help, meaning)``; the name in CamelCase is the reason in conditions and Events."""

    ConfigInvalid = (64, False, "An option can't be used; the message names it. Correct the spec.")
    ModelNotFound = (65, False, "The volume has no checkpoint at the path. Correct spec.model, or fill the volume.")
    CheckpointInvalid = (66, False, "A file of the checkpoint is damaged or foreign; the message names it.")
    TokenizerInvalid = (67, False, "The tokenizer can't be read; the message names the file.")
    QuantizationUnsupported = (68, False, "The device or the checkpoint can't do spec.quantization.")
    ModelUnreadable = (69, True, "Reading the model's volume failed; the message has the file and the system's error.")
    ModelAccessDenied = (83, False, "The hub refuses the model: correct spec.model.huggingFace, or its token's Secret.")
    FetchFailed = (84, True, "The model couldn't be fetched in full: the hub or the volume fails; see the message.")
    LeaderUnreachable = (
        70,
        True,
        "A worker could not reach its leader in time: it didn't start, or the network failed.",
    )
    RanksMissing = (71, True, "Ranks did not join in time, the preflight or Ray; the message names them.")
    RayFailed = (72, True, "Ray did not start, or ended; see the log.")
    EngineFailed = (73, True, "The engine did not start, ended, or stopped to answer; see the log.")
    LeaderLost = (74, True, "A worker lost its leader: a consequence, if another pod's end was seen too.")
    WorkerDied = (75, True, "The engine's process of a rank ended: killed, or out of memory; see its log.")
    RankHung = (77, True, "A process of a rank was stopped, so that the engine stood still; the message names it.")
    RankUnreachable = (78, True, "The engine stood still, and a rank's node could not be reached over the network.")
    GpuFault = (
        79,
        True,
        "A GPU or its links are broken: CUDA says so. The node is avoided; drain it and check the GPU.",
    )
    NetworkFailed = (80, True, "A rank can't find or reach another; the message names pods, nodes and interface.")
    NetworkSlow = (81, True, "A link between ranks is too slow; the message names it and has the numbers.")
    NetworkDeviceMissing = (82, True, "A pod lacks the network interface or RDMA device that spec.network asks for.")
    DataNotFound = (85, False, "The volume has no training or evaluation file at the path. Correct spec.data.")
    DataInvalid = (86, False, "Lines of the training file can't be used; the message names them and what is wrong.")
    ModelUnsupported = (87, False, "The base model isn't of an architecture that can be tuned; the message names it.")
    SpaceInsufficient = (88, False, "A volume lacks the room for what will be written; the message has the numbers.")
    SaveFailed = (89, True, "A checkpoint or a result could not be written; the message has the system's error.")
    RankLost = (90, True, "A rank lost the others: a consequence, if another pod's end was seen too.")
    LossNotFinite = (91, False, "The loss became NaN or infinite; the message has step, rate and gradient norm.")
    GpuMemoryExhausted = (92, False, "A GPU's memory is too small for the step; the message says what would lower it.")
    Unexpected = (76, True, "A defect of the runtime; its log has the traceback. Please report it.")

    @property
    def exit_code(self) -> int:
        return self.value[0]

    @property
    def retryable(self) -> bool:
        return self.value[1]

    @property
    def doc(self) -> str:
        return self.value[2]


class RuntimeFailure(Exception):
    """A rank can't go on; :func:`last_words` turns it into an exit code and a message.

    ``ranks`` are those that the message is about, where that isn't the one that ends: the ends of a broken link.
    """

    def __init__(self, cause: Cause, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.cause = cause
        self.ranks = ranks

    def __reduce__(self) -> tuple[type["RuntimeFailure"], tuple[Cause, str, tuple[int, ...]]]:
        """Exceptions are pickled by their ``args``, which lack the cause; this one crosses processes."""
        return RuntimeFailure, (self.cause, str(self), self.ranks)


class TerminationMessage(BaseModel):
    """The JSON that a rank leaves in its termination log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    message: str
    retryable: bool
    rank: int = Field(ge=0)
    ranks: tuple[int, ...] = ()
    """Those that the message is about, if not (only) this one."""

    @classmethod
    def of(cls, failure: RuntimeFailure, rank: int) -> "TerminationMessage":
        cause = failure.cause
        return cls(reason=cause.name, message=str(failure), retryable=cause.retryable, rank=rank, ranks=failure.ranks)

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


def last_words(error: Exception, rank: int, log: Path) -> int:
    """The traceback to the container's log, the message to the termination log; returns the exit code."""
    traceback.print_exception(error)
    unexpected = RuntimeFailure(Cause.Unexpected, f"{type(error).__name__}: {error}")
    failure = error if isinstance(error, RuntimeFailure) else unexpected
    message = TerminationMessage.of(failure, rank)
    try:
        message.write(log)
    except OSError as refused:
        print(f"{log}: {refused}", file=sys.stderr)  # noqa: T201 - the log of a container
    print(message.model_dump_json(), file=sys.stderr)  # noqa: T201 - likewise
    return failure.cause.exit_code
