"""Conversations of a whole file, one after the other or some at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.data.conversation import LineError, Message, parse
from hunyuan_runtime.train.data.lines import Lines

BATCH = 512
"""Conversations that are encoded at once: more are no faster."""
BATCH_CHARACTERS = 1 << 22
"""Bounds the memory of a batch where conversations are long."""


def conversations(path: Path) -> Iterator[tuple[int, list[Message]]]:
    """Each line's number, counted from 1, and its messages.

    Raises:
        RuntimeFailure: ``DataNotFound``, or ``DataInvalid`` with the first line that can't be used.

    """
    lines = Lines(path)
    for number, line in enumerate(lines, start=1):
        yield number, parse_line(path, number, line)


def parse_line(path: Path, number: int, line: bytes) -> list[Message]:
    try:
        return parse(line)
    except LineError as error:
        raise RuntimeFailure(Cause.DataInvalid, f"{path}, line {number}: {error}") from error


def in_batches(numbered: Iterable[tuple[int, list[Message]]]) -> Iterator[list[tuple[int, list[Message]]]]:
    """The same, as many at a time as are worth encoding at once; only the last batch may be small."""
    batch: list[tuple[int, list[Message]]] = []
    size = 0
    for number, messages in numbered:
        batch.append((number, messages))
        size += sum(len(message["content"]) for message in messages)
        if len(batch) == BATCH or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
