"""The queue's promises, as interleavings of what producers and workers do.

A step is written as ``add a`` (a producer), ``get = a`` (a worker takes a key, or finds none: ``-``), ``done a``,
``later a 5`` (add in five seconds), ``fail a``, ``forget a``, ``wait 5`` (time passes) and ``close``.
"""

import asyncio
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hunyuan_operator.workqueue import Backoff, WorkQueue


@dataclass(order=True)
class FakeTimer:
    due: float
    number: int
    callback: Callable[[], object] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True

    def when(self) -> float:
        return self.due


class FakeClock:
    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[FakeTimer] = []

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> FakeTimer:
        timer = FakeTimer(self._now + delay, len(self._timers), lambda: callback(*args))
        heapq.heappush(self._timers, timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._timers and self._timers[0].due <= end:
            timer = heapq.heappop(self._timers)
            self._now = timer.due
            if not timer.cancelled:
                timer.callback()
        self._now = end


def make_queue(clock: FakeClock | None = None) -> WorkQueue[str]:
    return WorkQueue(clock or FakeClock(), random.Random(0), Backoff(initial=1.0, maximum=8.0, jitter=0.0))


async def taken(queue: WorkQueue[str]) -> str:
    try:
        async with asyncio.timeout(0.01):
            return await queue.get() or "closed"
    except TimeoutError:
        return "-"


async def play(steps: str) -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    for number, step in enumerate(steps.split(";")):
        match step.split():
            case ["add", key]:
                queue.add(key)
            case ["later", key, delay]:
                queue.add_after(key, float(delay))
            case ["fail", key]:
                queue.add_failed(key)
            case ["fail", key, at_least]:
                queue.add_failed(key, at_least=float(at_least))
            case ["forget", key]:
                queue.forget(key)
            case ["done", key]:
                queue.done(key)
            case ["wait", seconds]:
                clock.advance(float(seconds))
            case ["close"]:
                queue.shut_down()
            case ["get", "=", expected]:
                assert await taken(queue) == expected, f"step {number} of {steps}"
            case _:
                pytest.fail(f"no such step: {step}")


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param("get = -", id="an empty queue gives nothing"),
        pytest.param("add a; add b; get = a; get = b; get = -", id="keys come in the order of their addition"),
        pytest.param("add a; add a; add a; get = a; get = -", id="a key waits once however often it is added"),
        pytest.param("add a; get = a; add a; get = -; done a; get = a", id="a key that is worked on is not handed out"),
        pytest.param(
            "add a; get = a; add a; add a; done a; get = a; get = -", id="many additions meanwhile count once"
        ),
        pytest.param("add a; get = a; done a; get = -", id="done without a change is the end"),
        pytest.param("add a; get = a; add a; add b; get = b; done a; get = a", id="a busy key holds up no other"),
        pytest.param("add a; get = a; done a; add a; get = a", id="a key can come back"),
        pytest.param("later a 5; wait 4.9; get = -; wait 0.2; get = a", id="a later addition waits its time"),
        pytest.param("later a 9; later a 3; wait 3; get = a; done a; wait 9; get = -", id="the earliest counts"),
        pytest.param("later a 3; later a 9; wait 3; get = a; done a; wait 9; get = -", id="also if it came first"),
        pytest.param("later a 0; get = a", id="no delay is now"),
        pytest.param("later a 5; add a; get = a; done a; wait 5; get = a", id="an addition now leaves the later one"),
        pytest.param("add a; get = a; later a 2; wait 2; get = -; done a; get = a", id="time passes while busy"),
        pytest.param("fail a; wait 0.9; get = -; wait 0.1; get = a", id="the first failure waits the initial back-off"),
        pytest.param(
            "fail a; wait 1; get = a; done a; fail a; wait 1.9; get = -; wait 0.1; get = a", id="then doubled"
        ),
        pytest.param("fail a; wait 1; get = a; forget a; done a; fail a; wait 1; get = a", id="success resets it"),
        pytest.param("fail a; fail b; wait 1; get = a; get = b", id="failures are counted by key"),
        pytest.param("fail a 30; wait 29; get = -; wait 1; get = a", id="the server's own wait is kept, if longer"),
        pytest.param("add a; close; get = closed", id="nothing is handed out after the end"),
        pytest.param("close; add a; later b 1; wait 2; get = closed", id="nothing is taken after the end"),
    ],
)
async def test_interleaving(steps: str) -> None:
    await play(steps)


@pytest.mark.parametrize(("failures", "expected"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (10_000, 8.0)])
def test_back_off_doubles_up_to_its_maximum(failures: int, expected: float) -> None:
    assert Backoff(initial=1.0, maximum=8.0, jitter=0.0).delay(failures, random.Random(0)) == expected


def test_jitter_only_adds_and_differs() -> None:
    rng = random.Random(0)
    waits = {Backoff(initial=1.0, maximum=8.0, jitter=0.5).delay(1, rng) for _ in range(100)}
    assert len(waits) > 90
    assert min(waits) >= 1.0
    assert max(waits) <= 1.5


async def test_a_waiting_worker_is_woken_by_an_addition() -> None:
    queue = make_queue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await worker == "a"


async def test_each_of_many_waiting_workers_gets_its_own_key() -> None:
    queue = make_queue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in "abc":
        queue.add(key)
    assert sorted([await worker or "" for worker in workers]) == ["a", "b", "c"]


async def test_the_end_wakes_every_waiting_worker() -> None:
    queue = make_queue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shut_down()
    assert await asyncio.gather(*workers) == [None, None, None]


async def test_random_schedules_keep_the_invariants() -> None:
    """No key twice at a time, and no change unseen: the last version of each key is worked on after it was made."""
    rng = random.Random(1)
    clock = FakeClock()
    queue = make_queue(clock)
    latest = dict.fromkeys("abcde", 0)
    seen = dict.fromkeys("abcde", 0)
    busy: set[str] = set()

    async def worker() -> None:
        while (key := await queue.get()) is not None:
            assert key not in busy
            busy.add(key)
            version = latest[key]
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            seen[key] = version
            busy.remove(key)
            queue.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(3)]
    for _ in range(2000):
        key = rng.choice("abcde")
        latest[key] += 1
        rng.choice((queue.add, lambda k: queue.add_after(k, rng.random()), queue.add_failed))(key)
        clock.advance(rng.random() / 4)
        await asyncio.sleep(0)
    clock.advance(100)
    for _ in range(100):
        await asyncio.sleep(0)
    queue.shut_down()
    await asyncio.gather(*workers)
    assert seen == latest
