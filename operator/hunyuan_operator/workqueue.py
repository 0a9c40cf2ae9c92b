"""A work queue of keys with the semantics of client-go's, for one event loop.

Invariants:

- a key that waits is there once, however often it is added;
- a key is never handed out twice at a time: added while it is worked on, it waits until :meth:`WorkQueue.done`;
- no addition is lost: a key added at any moment is handed out after that moment;
- of several later additions of a key the earliest counts.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Timer(Protocol):
    def cancel(self) -> None: ...
    def when(self) -> float: ...


class Clock(Protocol):
    """The part of an event loop that the queue needs."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer: ...


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Wait ``initial`` seconds after the first failure, twice as long after each further one, at most ``maximum``.

    Up to ``jitter`` of the wait is added at random, so that keys that failed together don't come back together.
    """

    initial: float = 0.2
    maximum: float = 120.0
    jitter: float = 0.2

    def delay(self, failures: int, rng: random.Random) -> float:
        doublings = min(failures - 1, 32)  # enough to pass any maximum, and never an overflow
        wait: float = min(self.initial * 2**doublings, self.maximum)
        return wait * (1 + self.jitter * rng.random())


class WorkQueue(Generic[K]):
    def __init__(self, clock: Clock, rng: random.Random, backoff: Backoff = Backoff()) -> None:
        self._clock = clock
        self._rng = rng
        self._backoff = backoff
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, Timer] = {}
        self._closed = False
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that could be handed out now."""
        return len(self._ready)

    def add(self, key: K) -> None:
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._make_ready(key)

    def add_after(self, key: K, delay: float) -> None:
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        if timer := self._timers.get(key):
            if timer.when() <= self._clock.time() + delay:
                return
            timer.cancel()
        self._timers[key] = self._clock.call_later(delay, self._expire, key)

    def add_failed(self, key: K, at_least: float = 0.0) -> float:
        """Add the key after its back-off, or ``at_least`` that many seconds; returns the wait."""
        self._failures[key] = self._failures.get(key, 0) + 1
        wait = max(self._backoff.delay(self._failures[key], self._rng), at_least)
        self.add_after(key, wait)
        return wait

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure is the first again."""
        self._failures.pop(key, None)

    async def get(self) -> K | None:
        """The next key, which must be given to :meth:`done` afterwards; None once the queue is shut down."""
        while not self._closed and not self._ready:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            return None
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        self._processing.discard(key)
        if key in self._dirty and not self._closed:
            self._make_ready(key)

    def shut_down(self) -> None:
        """Hand out no more keys. What was waiting is dropped: the next leader lists everything anyway."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._changed.set()

    def _expire(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _make_ready(self, key: K) -> None:
        self._ready.append(key)
        self._changed.set()
