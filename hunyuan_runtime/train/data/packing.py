"""Which conversations share a row: best-fit decreasing.

The longest goes first, each into the fullest row that still has room for it. At most 11/9 of the fewest rows possible
are used; with the usual mixture of lengths nearly all are full.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Packs:
    """Rows of conversation numbers: 16 bytes a conversation, about 60 more while they are made."""

    def __init__(self, lengths: NDArray[np.int32], capacity: int) -> None:
        row_of = _best_fit_decreasing(lengths, capacity)
        self._members = np.argsort(row_of, kind="stable")
        self._ends = np.cumsum(np.bincount(row_of))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> Sequence[int]:
        """In the order of the file."""
        start = int(self._ends[row - 1]) if row else 0
        return [int(member) for member in self._members[start : self._ends[row]]]


def _best_fit_decreasing(lengths: NDArray[np.int32], capacity: int) -> NDArray[np.int64]:
    """The row of each conversation."""
    row_of = np.zeros(len(lengths), np.int64)
    rooms: list[int] = []  # the different rooms that open rows have, ascending: never more than ``capacity``
    rows_with: dict[int, list[int]] = {}
    rows = 0
    for index in np.argsort(-lengths.astype(np.int64), kind="stable"):
        length = int(lengths[index])
        place = bisect_left(rooms, length)
        if place < len(rooms):
            room = rooms[place]
            row = rows_with[room].pop()
            if not rows_with[room]:
                del rows_with[room], rooms[place]
        else:
            room, row = capacity, rows
            rows += 1
        row_of[index] = row
        left = room - length
        if left not in rows_with:
            rows_with[left] = []
            insort(rooms, left)
        rows_with[left].append(row)
    return row_of
