"""``docs/reasons.md``: every word that a condition, a failure or an Event can carry."""

from collections.abc import Iterable

from hunyuan_operator.api.reasons import ConditionType, EventReason, FailureReason, Reason
from hunyuan_runtime.termination import Cause

_INTRODUCTION = """\
<!-- Generated from operator/hunyuan_operator/api/reasons.py and hunyuan_runtime/termination.py by `make generate`. -->

# Conditions, reasons, Events

What `kubectl get hyd,hyft -o yaml` and `kubectl describe hyd,hyft` can show, and what to do about it."""


def reasons_page() -> str:
    sections = [
        _INTRODUCTION,
        _section("Conditions", "", _table(("Type", "Means"), ((it, it.doc) for it in ConditionType))),
        _section("Reasons of conditions", "", _table(("Reason", "Means"), ((it, it.doc) for it in Reason))),
        _section(
            "Why an attempt ended, as Kubernetes tells it",
            "In `status.lastFailure.reason`, `status.groupStatuses[].reason` and `status.stages[].reason`. "
            "All of these are tried again.",
            _table(("Reason", "Means"), ((it, it.doc) for it in FailureReason)),
        ),
        _section(
            "Why an attempt ended, as the runtime tells it",
            "In the same places. Where a retry can't help, the group or the stage stalls at once and frees its GPUs.",
            _table(("Reason", "Exit code", "Tried again", "Means"), map(_cause, Cause)),
        ),
        _section("Events", "", _table(("Reason", "Means"), ((it, it.doc) for it in EventReason))),
    ]
    return "\n\n".join(sections) + "\n"


def _cause(cause: Cause) -> tuple[str, str, str, str]:
    return cause.name, str(cause.exit_code), "yes" if cause.retryable else "no", cause.doc


def _section(title: str, text: str, table: str) -> str:
    return "\n\n".join(part for part in (f"## {title}", text, table) if part)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A first column of code, as reasons are searched for by copying them."""
    lines = [head, ("---",) * len(head), *((f"`{row[0]}`", *row[1:]) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
