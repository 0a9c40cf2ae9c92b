"""Small records between decisions and conditions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a condition says."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that keeps a resource from being as asked. ``stalled``: only help from outside gets it on."""

    reason: str
    message: str
    stalled: bool = False


def yes(reason: str, message: str = "") -> Verdict:
    return Verdict(status="True", reason=str(reason), message=message)


def no(reason: str, message: str = "") -> Verdict:
    return Verdict(status="False", reason=str(reason), message=message)


def unknown(reason: str, message: str = "") -> Verdict:
    return Verdict(status="Unknown", reason=str(reason), message=message)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The first that says False, else the first Unknown, else the first."""
    return min(verdicts, key=lambda verdict: ("False", "Unknown", "True").index(verdict.status))
