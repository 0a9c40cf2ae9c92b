"""One leader at a time, another soon after it is gone, by client-go's rules. Time is simulated."""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hunyuan_operator.errors import Conflict, Unavailable
from hunyuan_operator.leader import Elector, LeaseLost, Periods, Time

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeStore:
    """A Lease with optimistic locking, whose API server can be made to fail or to hang."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.broken = False
        self.hangs = False
        self._version = 0

    async def read(self) -> Mapping[str, Any] | None:
        await self._answer()
        await self.slow_read()
        return self.lease

    async def slow_read(self) -> None:
        """Nothing to wait for, unless a test says so."""

    async def write(self, spec: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        await self._answer()
        held = self.lease["metadata"]["resourceVersion"] if self.lease else ""
        if version != held:
            raise Conflict("the object has been modified")
        self._version += 1
        self.lease = {"metadata": {"resourceVersion": str(self._version)}, "spec": dict(spec)}
        return self.lease

    async def _answer(self) -> None:
        if self.broken:
            raise Unavailable("no route")
        if self.hangs:
            await asyncio.Event().wait()


class World:
    """Candidates sleep on one simulated clock, and everyone's turn comes in the order of their alarms."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.seconds = 0.0
        self.fence = 0.0
        """When the kernel would end the process that led last; 0 when it would not."""
        self._alarms: list[tuple[float, asyncio.Future[None]]] = []

    def elector(self, identity: str, clock_error: timedelta = timedelta()) -> Elector:
        def now() -> datetime:
            return START + timedelta(seconds=self.seconds) + clock_error

        time = Time(monotonic=lambda: self.seconds, now=now, fence=self._wind, sleep=self._sleep)
        return Elector(self.store, identity, time, random.Random(0), Periods(duration=15, jitter=0.0))

    def _wind(self, seconds: float) -> None:
        self.fence = self.seconds + seconds if seconds else 0.0

    async def _sleep(self, seconds: float) -> None:
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alarms.append((self.seconds + seconds, alarm))
        await alarm

    async def pass_time(self, seconds: float) -> None:
        end = self.seconds + seconds
        while True:
            for _ in range(10):
                await asyncio.sleep(0)
            due = min((due for due, alarm in self._alarms if not alarm.done()), default=end + 1)
            if due > end:
                break
            self.seconds = due
            for at, alarm in self._alarms:
                if at <= due and not alarm.done():
                    alarm.set_result(None)
        self.seconds = end

    @property
    def holder(self) -> str:
        assert self.store.lease is not None
        return str(self.store.lease["spec"]["holderIdentity"])


async def started(world: World, elector: Elector) -> asyncio.Task[None]:
    """An instance that acquires and then holds."""

    async def lead() -> None:
        await elector.acquire()
        await elector.hold()

    task = asyncio.create_task(lead())
    await world.pass_time(0)
    return task


async def test_the_first_candidate_leads_at_once() -> None:
    world = World()
    await world.elector("a").acquire()
    assert world.store.lease is not None
    assert world.store.lease["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
        "leaseTransitions": 0,
    }


async def test_a_second_candidate_waits_while_the_first_renews() -> None:
    world = World()
    first, second = world.elector("a"), world.elector("b")
    tasks = [await started(world, first), await started(world, second)]
    await world.pass_time(3600)
    assert (world.holder, first.leads, second.leads) == ("a", True, False)
    for task in tasks:
        task.cancel()


async def test_a_holder_that_vanished_is_followed_after_its_lease_ran_out() -> None:
    world = World()
    gone = await started(world, world.elector("a"))
    second = world.elector("b")
    task = await started(world, second)
    gone.cancel()
    await world.pass_time(14)
    assert not second.leads
    await world.pass_time(4)
    assert second.leads
    assert world.store.lease is not None
    assert world.store.lease["spec"]["leaseTransitions"] == 1
    task.cancel()


async def test_a_holder_that_released_is_followed_within_a_retry() -> None:
    world = World()
    first = world.elector("a")
    await first.acquire()
    second = world.elector("b")
    task = await started(world, second)
    await first.release()
    assert (world.holder, first.leads) == ("", False)
    await world.pass_time(2)
    assert second.leads
    task.cancel()


async def test_a_lease_that_was_long_in_coming_counts_from_its_writing() -> None:
    world = World()
    elector = world.elector("a")

    async def half_a_minute() -> None:
        world.seconds += 30

    world.store.slow_read = half_a_minute  # type: ignore[method-assign]  # an API server that comes back from a stall
    task = await started(world, elector)
    world.store.slow_read = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
    await world.pass_time(8)
    assert (elector.leads, task.done()) == (True, False)
    task.cancel()


async def test_only_a_leader_releases() -> None:
    world = World()
    await world.elector("a").acquire()
    await world.elector("b").release()
    assert world.holder == "a"


async def test_a_restarted_container_goes_on_with_its_own_lease() -> None:
    world = World()
    await world.elector("a").acquire()
    await world.pass_time(5)
    again = world.elector("a")
    await again.acquire()
    assert world.store.lease is not None
    spec = world.store.lease["spec"]
    assert (spec["acquireTime"][17:19], spec["renewTime"][17:19], spec["leaseTransitions"]) == ("00", "05", 0)


@pytest.mark.parametrize("clock_error", [timedelta(days=-1), timedelta(days=1)])
async def test_a_wrong_clock_neither_steals_nor_blocks(clock_error: timedelta) -> None:
    world = World()
    first = await started(world, world.elector("a", clock_error))
    second = world.elector("b")
    task = await started(world, second)
    await world.pass_time(60)
    assert not second.leads
    first.cancel()
    await world.pass_time(18)
    assert second.leads
    task.cancel()


@pytest.mark.parametrize("trouble", ["broken"])
async def test_a_short_outage_is_survived(trouble: str) -> None:
    world = World()
    first = world.elector("a")
    task = await started(world, first)
    await world.pass_time(10)
    world.store.broken = True
    await world.pass_time(7)
    world.store.broken = False
    await world.pass_time(60)
    assert first.leads
    task.cancel()


async def test_a_leader_that_can_not_renew_stops_before_another_may_start() -> None:
    world = World()
    first = world.elector("a")
    task = await started(world, first)
    await world.pass_time(10)  # renewed at 10
    world.store.broken = True
    await world.pass_time(9)
    assert first.leads
    await world.pass_time(2)  # another could start at 25 at the earliest
    assert not first.leads
    with pytest.raises(LeaseLost, match="could not be renewed for 10 s"):
        await task


async def test_a_leader_that_finds_another_in_its_place_stops_at_once() -> None:
    world = World()
    task = await started(world, world.elector("a"))
    assert world.store.lease is not None
    taken = {**world.store.lease["spec"], "holderIdentity": "b"}
    await world.store.write(taken, world.store.lease["metadata"]["resourceVersion"])
    await world.pass_time(2)
    with pytest.raises(LeaseLost, match="b holds the lease"):
        await task


async def test_a_request_that_hangs_does_not_outlive_the_deadline() -> None:
    """In real time, with short periods: the deadline cuts a request off."""
    store = FakeStore()
    loop = asyncio.get_running_loop()
    time = Time(monotonic=loop.time, now=lambda: START, fence=lambda seconds: None)
    elector = Elector(store, "a", time, random.Random(0), Periods(duration=1))
    await elector.acquire()
    store.hangs = True
    async with asyncio.timeout(5):
        with pytest.raises(LeaseLost):
            await elector.hold()


async def test_a_leader_ends_by_the_kernels_hand_after_its_own_deadline_and_before_another_may_start() -> None:
    world = World()
    elector = world.elector("a")
    task = await started(world, elector)
    assert world.fence == 12.5
    await world.pass_time(10)
    assert world.fence == 22.5
    world.store.broken = True
    await world.pass_time(9)
    assert world.fence == 22.5  # given up at 20; another could start at 25
    task.cancel()
    await elector.release()
    assert world.fence == 0


async def test_a_lease_whose_writing_took_too_long_ends_at_once() -> None:
    world = World()
    write = world.store.write

    async def slow_write(spec: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        world.seconds += 30
        return await write(spec, version)

    world.store.write = slow_write  # type: ignore[method-assign]
    await world.elector("a").acquire()
    assert 0 < world.fence - world.seconds < 0.1


async def test_of_two_that_try_at_once_one_leads() -> None:
    world = World()
    electors = [world.elector("a"), world.elector("b")]
    tasks = [await started(world, elector) for elector in electors]
    await world.pass_time(10)
    assert [elector.leads for elector in electors].count(True) == 1
    for task in tasks:
        task.cancel()
