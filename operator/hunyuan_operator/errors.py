"""What can go wrong, and whether trying again can help.

::

    OperatorError
    ├── InvalidSpec          the object can't be understood: only a change of it helps
    ├── Unplannable          there is no way to run what is asked for: a change of the spec helps
    │   ├── InvalidTopology  the ranks can't be laid out on nodes, or don't split the model evenly
    │   ├── DoesNotFit       the GPUs have too little memory
    │   ├── FineTuneNotFound the model is to come from a fine-tune that isn't there: its creation helps, too
    │   └── FineTuneNotReady the fine-tune has no result yet: waiting helps
    └── ClusterError         a request to the API server failed
        ├── Conflict         our picture is old, or the name is taken: soon
        ├── NotServed        the API server doesn't know the kind: its installation helps
        ├── Unavailable      throttled, overloaded, unreachable: with back-off
        └── Refused          quota, permission, admission, validation: slowly, and status says it
"""

from datetime import timedelta
from typing import ClassVar

from hunyuan_operator.api.reasons import Reason


class OperatorError(Exception):
    """Base of all below."""


class InvalidSpec(OperatorError):
    """The message names the field."""


class Unplannable(OperatorError):
    """The message has a way out; ``reason`` is how a condition calls it."""

    reason: ClassVar[Reason]
    stalled: ClassVar[bool] = True
    """Whether only a change of the spec helps."""


class InvalidTopology(Unplannable):
    reason = Reason.INVALID_TOPOLOGY


class DoesNotFit(Unplannable):
    reason = Reason.DOES_NOT_FIT


class FineTuneNotFound(Unplannable):
    reason = Reason.FINE_TUNE_NOT_FOUND
    stalled = False


class FineTuneNotReady(Unplannable):
    reason = Reason.FINE_TUNE_NOT_READY
    stalled = False


class ClusterError(OperatorError):
    """Base of what the API server answers."""


class Conflict(ClusterError):
    """Someone else wrote, or holds the name."""


class NotServed(ClusterError):
    """The kind, or its version, is not installed."""


class Unavailable(ClusterError):
    """The API server can't answer now; ``retry_after`` is the wait that it asks for, in seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(ClusterError):
    """The API server understood and said no; ``str()`` is its own message."""

    ask_again: ClassVar = timedelta(seconds=30)
    """How long to wait before asking again."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
