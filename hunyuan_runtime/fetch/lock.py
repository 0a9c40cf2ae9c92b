"""One fetcher for a snapshot at a time, over all nodes that share the volume.

A file with the holder's name and progress, which the holder writes anew every few seconds. Who waits reads the progress
from it, and takes over when the file has stood still for long, by the waiter's own clock: no two clocks are compared,
and nothing is asked of the file system but that names are unique. Two holders at once are possible for a moment (one
slept, another took over); the one that no longer finds its name in the file gives up. No harm is done meanwhile: what
is damaged so fails its digest.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEAT = 2.0
"""Seconds between two signs of life."""
STALE = 60.0


class LockLost(Exception):
    """Another fetcher has taken over."""


@dataclass(kw_only=True)
class Lock:
    """``holder`` must be unique: a pod's name."""

    path: Path
    holder: str
    stale: float = STALE
    clock: Callable[[], float] = time.monotonic
    _seen: tuple[str | None, float] = field(default=(None, 0.0), init=False)

    def take(self) -> bool:
        """Whether it is ours now; True again for the holder itself after its restart."""
        text = self._text()
        if self._holder(text) == self.holder:
            return True
        if text is not None:
            if not self._stands_still(text):
                return False
            self.path.unlink(missing_ok=True)
        try:
            with self.path.open("x") as file:
                file.write(self._record(0, 0))
        except FileExistsError:
            return False
        return True

    def beat(self, done: int, total: int) -> None:
        """Show that we live, and how far we are.

        Raises:
            LockLost: it is another's.

        """
        if self._holder(self._text()) != self.holder:
            raise LockLost
        new = self.path.with_name(f"{self.path.name}.{self.holder}")
        new.write_text(self._record(done, total))
        new.replace(self.path)

    def progress(self) -> tuple[int, int] | None:
        """``(done, total)`` as the holder tells."""
        record = _parse(self._text())
        return (int(record["done"]), int(record["total"])) if record.get("total") else None

    def release(self) -> None:
        if self._holder(self._text()) == self.holder:
            self.path.unlink(missing_ok=True)

    def _text(self) -> str | None:
        try:
            return self.path.read_text()
        except FileNotFoundError:
            return None

    def _stands_still(self, text: str) -> bool:
        if text != self._seen[0]:
            self._seen = (text, self.clock())
        return self.clock() - self._seen[1] >= self.stale

    def _record(self, done: int, total: int) -> str:
        return json.dumps({"holder": self.holder, "done": done, "total": total, "beat": os.urandom(4).hex()})

    def _holder(self, text: str | None) -> str:
        return str(_parse(text).get("holder", ""))


def _parse(text: str | None) -> dict[str, Any]:
    try:
        record = json.loads(text or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
