"""Leader election by a Lease, with client-go's rules and periods.

A candidate never compares its clock with the holder's: a Lease counts as held for its duration since the candidate last
saw it change. The holder renews every ``retry`` seconds and gives up when it could not for ``renew_deadline``, which is
shorter than ``duration``, so it has stopped before anyone else starts. A holder that can't even give up, because it is
frozen or busy, is ended by :mod:`hunyuan_operator.fence`, which each renewal winds up for another ``fence`` seconds.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from hunyuan_operator.errors import ClusterError

_AT_ONCE = 1e-3


class LeaseLost(Exception):
    """Others may lead by now: nothing more may be written."""


class Store(Protocol):
    """See :class:`hunyuan_operator.cluster.lease.Lease`."""

    async def read(self) -> Mapping[str, Any] | None: ...
    async def write(self, spec: Mapping[str, Any], version: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Periods:
    """Seconds, in client-go's proportions to the Lease's duration.

    A leader that is killed is followed after at most ``duration`` and two jittered ``retry``: a standby may be one late
    to see its last renewal, and one late to see the Lease's end.
    """

    duration: int
    jitter: float = 0.2

    @property
    def renew_deadline(self) -> float:
        return self.duration * 2 / 3

    @property
    def fence(self) -> float:
        """Late enough for an orderly end after ``renew_deadline``, and well before ``duration``."""
        return self.duration * 5 / 6

    @property
    def retry(self) -> float:
        return self.duration * 2 / 15


@dataclass(frozen=True, kw_only=True)
class Time:
    """Where the elector's time comes from; ``now`` is only what it writes, never what it decides by."""

    monotonic: Callable[[], float]
    now: Callable[[], datetime]
    fence: Callable[[float], None]
    """End this process after so many seconds, unless called again before; never, if 0."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Elector:
    def __init__(
        self,
        store: Store,
        identity: str,
        time: Time,
        rng: random.Random,
        periods: Periods,
    ) -> None:
        self._store = store
        self._identity = identity
        self._time = time
        self._rng = rng
        self._periods = periods
        self._seen: Mapping[str, Any] = {}
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self.leads = False

    async def acquire(self) -> None:
        """Returns once this instance leads."""
        while not await self._try():
            await self._time.sleep(self._periods.retry * (1 + self._periods.jitter * self._rng.random()))
        self.leads = True

    async def hold(self) -> None:
        """Renews for as long as that works.

        Raises:
            LeaseLost: it did not work for too long, or another holds the Lease.

        """
        try:
            while True:
                await self._time.sleep(self._periods.retry)
                await self._renew()
        except LeaseLost:
            self.leads = False
            raise

    async def _renew(self) -> None:
        deadline = self._renewed_at + self._periods.renew_deadline
        try:
            async with asyncio.timeout(max(deadline - self._time.monotonic(), 0.0)):
                if await self._try():
                    return
        except TimeoutError:
            pass
        if self._held_by_another():
            raise LeaseLost(f"{self._seen['spec']['holderIdentity']} holds the lease")
        if self._time.monotonic() >= deadline:
            raise LeaseLost(f"the lease could not be renewed for {self._periods.renew_deadline:.0f} s")

    async def release(self) -> None:
        """Let another lead at once, if this instance leads. Best effort: without it, the Lease runs out.

        Nothing of this process may write any more.
        """
        self._time.fence(0)
        if not self.leads:
            return
        self.leads = False
        spec = {**self._spec(), "holderIdentity": "", "leaseDurationSeconds": 1}
        with suppress(ClusterError):
            await self._store.write(spec, self._seen["metadata"]["resourceVersion"])

    async def _try(self) -> bool:
        """One attempt to take or renew the Lease."""
        try:
            lease = await self._store.read()
            if lease is not None:
                self._look(lease)
                if self._held_by_another():
                    return False
            version = lease["metadata"]["resourceVersion"] if lease is not None else ""
            started = self._time.monotonic()
            self._look(await self._store.write(self._spec(), version))
        except ClusterError:
            return False
        # The others count from when they see the renewal, which is later.
        self._renewed_at = started
        self._time.fence(max(started + self._periods.fence - self._time.monotonic(), _AT_ONCE))
        return True

    def _look(self, lease: Mapping[str, Any]) -> None:
        if lease["metadata"]["resourceVersion"] != self._seen.get("metadata", {}).get("resourceVersion"):
            self._seen, self._seen_at = lease, self._time.monotonic()

    def _held_by_another(self) -> bool:
        spec = self._seen.get("spec", {})
        if spec.get("holderIdentity", "") in ("", self._identity):
            return False
        duration = float(spec.get("leaseDurationSeconds", self._periods.duration))
        return self._time.monotonic() < self._seen_at + duration

    def _spec(self) -> dict[str, Any]:
        now = self._time.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = self._seen.get("spec", {})
        mine = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._periods.duration,
            "acquireTime": before["acquireTime"] if mine and "acquireTime" in before else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions", 0)) + (0 if mine or not before else 1),
        }
