"""How long to wait for a hub that fails, and when to give up."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from hunyuan_runtime.fetch.hub import Again
from hunyuan_runtime.termination import Cause, RuntimeFailure


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds; the wait doubles from ``first`` to ``longest``, and ``give_up`` counts from the last byte that came."""

    first: float = 1
    longest: float = 60
    give_up: float = 900


class Waits:
    """The waits of one request that is tried again and again."""

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self.progressed()

    def progressed(self) -> None:
        """Something came: begin anew."""
        self._began = self._clock()
        self._wait = self._patience.first

    def next(self, error: Again) -> float:
        """Seconds to wait: what the server asks for, or twice as long as before.

        Raises:
            RuntimeFailure: ``FetchFailed``: that would be too long.

        """
        wait = max(error.after, self._wait)
        self._wait = min(2 * self._wait, self._patience.longest)
        if self._clock() + wait > self._began + self._patience.give_up:
            raise RuntimeFailure(Cause.FetchFailed, f"given up after {self._clock() - self._began:.0f} s: {error}")
        return wait
