"""The whole of a file in one pass: what is wrong with which lines, and how long its conversations are.

Memory: 4 bytes a line, and one batch of conversations.
"""

from array import array
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.data.conversation import LineError, Message, parse
from hunyuan_runtime.train.data.encoding import IGNORED, ChatEncoder
from hunyuan_runtime.train.data.lines import Lines
from hunyuan_runtime.train.data.reading import in_batches

KEPT = 20
"""Faults that are kept to be shown, the first of the file; all are counted."""
NAMED = 5
"""Faults in a failure's message."""


@dataclass(frozen=True, order=True)
class Fault:
    """A line, counted from 1, and why it can't be used."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass
class Inspection:
    """Figures are of the lines that can be read, the too long ones included."""

    path: Path
    lines: int
    max_seq_length: int | None
    turns: int = 0
    trained_tokens: int = 0
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0
    too_long: int = 0
    lengths: "array[int]" = field(default_factory=lambda: array("i"))

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    def fault(self, line: int, reason: str) -> None:
        self.fault_count += 1
        insort(self.faults, Fault(line, reason))  # not in order: lengths are known a batch later than all else
        del self.faults[KEPT:]


def inspect(
    path: Path,
    encoder: ChatEncoder,
    max_seq_length: int | None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Inspection:
    """``progress`` gets lines that were read and lines that there are.

    Raises:
        RuntimeFailure: ``DataNotFound``, or ``DataInvalid`` for a file without a line; what is wrong with lines is in
            the inspection.

    """
    lines = Lines(path)
    if not len(lines):
        raise RuntimeFailure(Cause.DataInvalid, f"{path} is empty: it holds no conversation")
    found = Inspection(path=path, lines=len(lines), max_seq_length=max_seq_length)
    for batch in in_batches(_usable(lines, found)):
        encoded = encoder.encode([messages for _, messages in batch])
        for (number, messages), conversation in zip(batch, encoded, strict=True):
            length = len(conversation.input_ids)
            found.lengths.append(length)
            found.turns += sum(message["role"] == "assistant" for message in messages)
            found.trained_tokens += sum(label != IGNORED for label in conversation.labels)
            if max_seq_length is not None and length > max_seq_length:
                found.too_long += 1
                found.fault(number, f"{length} tokens, {length - max_seq_length} more than the maximum")
        progress(batch[-1][0], len(lines))
    return found


def _usable(lines: Lines, found: Inspection) -> Iterator[tuple[int, list[Message]]]:
    for number, line in enumerate(lines, start=1):
        try:
            yield number, parse(line)
        except LineError as error:
            found.fault(number, str(error))


def refuse_faulty(found: Inspection) -> None:
    """Raise ``DataInvalid`` where a line can't be used, with the first such lines and what would help."""
    if not found.fault_count:
        return
    named = "; ".join(map(str, found.faults[:NAMED]))
    rest = found.fault_count - min(found.fault_count, NAMED)
    more = f"; and {rest} more" if rest else ""
    raise RuntimeFailure(Cause.DataInvalid, f"{headline(found)}: {named}{more}{_remedy(found)}")


def headline(found: Inspection) -> str:
    return f"{found.path}: {found.fault_count} of {found.lines} lines can't be used"


def _remedy(found: Inspection) -> str:
    if not found.too_long:
        return ""
    return (
        f". The maximum is {found.max_seq_length} tokens; {max(found.lengths)} would hold all that can be read, "
        "else shorten or remove the lines"
    )


def report_of(found: Inspection) -> dict[str, Any]:
    """All of it as JSON; lengths are tokens of a conversation, ``up_to`` the inclusive ends of the buckets."""
    return {
        "file": str(found.path),
        "lines": found.lines,
        "faulty_lines": found.fault_count,
        "faults": [{"line": fault.line, "reason": fault.reason} for fault in found.faults],
        "examples": len(found.lengths),
        "turns": found.turns,
        "tokens": found.tokens,
        "trained_tokens": found.trained_tokens,
        "max_seq_length": found.max_seq_length,
        "lengths": _percentiles(found) if found.lengths else {},
        "histogram": _histogram(found) if found.lengths else [],
    }


def _percentiles(found: Inspection) -> dict[str, int]:
    names = {"min": 0, "p50": 50, "p90": 90, "p99": 99, "max": 100}
    values = np.percentile(found.lengths, list(names.values()), method="inverted_cdf")
    return dict(zip(names, map(int, values), strict=True))


def _histogram(found: Inspection) -> list[dict[str, int]]:
    """By powers of two, from the first that holds any to the last."""
    powers = np.ceil(np.log2(found.lengths)).astype(int)
    counts = np.bincount(powers)
    return [{"up_to": 2**power, "examples": int(counts[power])} for power in range(powers.min(), len(counts))]


def summary_of(found: Inspection) -> str:
    lengths = _percentiles(found)
    return (
        f"{len(found.lengths)} examples, {found.turns} answers, {found.tokens} tokens of which {found.trained_tokens} "
        f"are trained on; lengths {lengths['min']} to {lengths['max']}, median {lengths['p50']}, "
        f"p90 {lengths['p90']}, p99 {lengths['p99']}"
    )
