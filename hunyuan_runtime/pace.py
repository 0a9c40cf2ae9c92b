"""How long long work will still take, from how fast it went lately."""

from collections import deque

from hunyuan_runtime.config import Progress

WINDOW = 120.0
"""Seconds that count: disks and networks change their pace, and an hour-old one says nothing."""


class Pace:
    """Fed with the bytes done so far; the clock is the caller's."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def progress(self, done: int, total: int, now: float) -> Progress:
        while len(self._samples) > 1 and self._samples[0][0] < now - WINDOW:
            self._samples.popleft()
        self._samples.append((now, done))
        began, first = self._samples[0]
        rate = (done - first) / (now - began) if now > began else 0
        left = round((total - done) / rate) if rate > 0 else None
        return Progress(done_bytes=done, total_bytes=total, remaining_seconds=left)
