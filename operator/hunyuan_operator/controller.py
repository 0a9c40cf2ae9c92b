"""Workers: take a key, reconcile it, decide when to look again.

What may pass by itself backs off from a fifth of a second on; what the API server refuses waits longer. Every key is
looked at again after ten minutes at the latest, with jitter, whatever events were missed.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from hunyuan_operator.cluster.port import Key
from hunyuan_operator.errors import Conflict, InvalidSpec, Refused, Unavailable
from hunyuan_operator.metrics import Metrics
from hunyuan_operator.workqueue import WorkQueue

RESYNC = timedelta(minutes=10)
_JITTER = 0.2

logger = logging.getLogger(__name__)

Reconcile = Callable[[Key], Awaitable[timedelta | None]]
"""One pass over one deployment; returns when to look again, None if only a change can matter."""


@dataclass(frozen=True, kw_only=True)
class Controller:
    queue: WorkQueue[Key]
    reconcile: Reconcile
    metrics: Metrics
    clock: Callable[[], float]
    rng: random.Random = field(repr=False)

    async def run(self, workers: int) -> None:
        """Returns when the queue is shut down and every worker has finished its key."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(), name=f"worker {number}")

    async def _work(self) -> None:
        while (key := await self.queue.get()) is not None:
            try:
                await self._handle(key)
            finally:
                self.queue.done(key)

    async def _handle(self, key: Key) -> None:
        start = self.clock()
        result = "error"
        try:
            again = await self.reconcile(key)
        except Conflict as error:
            result = "conflict"
            wait = self.queue.add_failed(key)
            logger.info("%s: the picture was old, again in %.1f s: %s", key, wait, error)
        except Unavailable as error:
            result = "unavailable"
            wait = self.queue.add_failed(key, at_least=error.retry_after)
            logger.warning("%s: the API server can't answer, again in %.1f s: %s", key, wait, error)
        except (Refused, InvalidSpec) as error:
            result = "refused"
            wait = self.queue.add_failed(key, at_least=Refused.ask_again.total_seconds())
            logger.warning("%s: refused, again in %.1f s: %s", key, wait, error)
        except Exception:  # A defect in one deployment's reconcile must not stop the others'.
            wait = self.queue.add_failed(key)
            logger.exception("%s: reconcile failed, again in %.1f s", key, wait)
        else:
            result = "ok"
            self.queue.forget(key)
            self.queue.add_after(key, self._pause(again))
        finally:
            self.metrics.reconciled(result, self.clock() - start)

    def _pause(self, again: timedelta | None) -> float:
        resync = RESYNC.total_seconds() * (1 + _JITTER * self.rng.random())
        return resync if again is None else min(again.total_seconds(), resync)
