"""Small records between decisions and conditions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hunyuan_operator.api.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a condition says."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that keeps the deployment from being as asked. ``stalled``: only help from outside gets it on."""

    reason: str
    message: str
    stalled: bool = False


def yes(reason: Reason, message: str = "") -> Verdict:
    return Verdict(status="True", reason=reason.value, message=message)


def no(reason: Reason, message: str = "") -> Verdict:
    return Verdict(status="False", reason=reason.value, message=message)


def unknown(reason: Reason, message: str = "") -> Verdict:
    return Verdict(status="Unknown", reason=reason.value, message=message)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The first that says False, else the first Unknown, else the first."""
    return min(verdicts, key=lambda verdict: ("False", "Unknown", "True").index(verdict.status))
