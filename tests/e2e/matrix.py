"""The tables of docs/faults.md: what is promised of each fault, and what the last run on real nodes measured.

Tests call :func:`record`, which keeps the figures with ``FAULTS=write``; ``python -m tests.e2e.matrix`` then writes the
tables between their markers. A unit test holds that they are up to date and complete.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from tests import stack
from tests.e2e.fault_list import ALL_KINDS, SERVING, STARTING, Fault
from tests.e2e.training_faults import TRAINING

PAGE = stack.ROOT / "docs/faults.md"
MEASURED = stack.ROOT / "docs/faults.json"
SECTIONS = {"serving": SERVING, "starting": STARTING, "training": TRAINING, "all kinds": ALL_KINDS}
_HEAD = ("Fault", "Detected by", "Time", "Action", "What status says", "Requests lost", "Test")

Measured = Mapping[str, Mapping[str, Any]]


def record(key: str, *, seen: float, again: float | None = None, reason: str = "", lost: str = "") -> None:
    """Seconds until the fault is told, and until all is well again; what was measured before is replaced."""
    found: dict[str, Any] = {"seen": round(seen, 1)}
    if again is not None:
        found["again"] = round(again)
    if reason:
        found["reason"] = reason
    if lost:
        found["lost"] = lost
    print(key, found)
    if os.environ.get("FAULTS") == "write":
        known = measured() | {key: found}
        MEASURED.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def measured() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(MEASURED.read_text())
    return known


def page(text: str, known: Measured) -> str:
    """``docs/faults.md`` with its tables made anew."""
    for name, faults in SECTIONS.items():
        table = "\n".join(_line(cells) for cells in (_HEAD, ("---",) * len(_HEAD), *(_row(f, known) for f in faults)))
        begin, end = f"<!-- faults: {name} -->", "<!-- end -->"
        before, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise ValueError(f"{PAGE.name}: no block {begin}")
        text = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def _row(fault: Fault, known: Measured) -> tuple[str, ...]:
    found = known.get(fault.key, {})
    path, _, test = fault.test.partition(" ")
    return (
        fault.fault,
        fault.detected,
        _time(fault, found),
        fault.action,
        fault.status,
        str(found.get("lost", fault.lost)),
        f"`{path}` `{test}…`",
    )


def _time(fault: Fault, found: Mapping[str, Any]) -> str:
    """The bound, and what was measured."""
    if not found:
        return fault.within
    again = f", well again after {found['again']} s" if "again" in found else ""
    return f"{fault.within}; measured {found['seen']} s{again}"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), measured()))
