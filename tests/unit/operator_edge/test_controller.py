"""What a worker does with each outcome of a reconcile."""

import asyncio
import random
from datetime import timedelta

import pytest
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.cluster.port import Key
from hunyuan_operator.controller import RESYNC, Controller
from hunyuan_operator.errors import Conflict, InvalidSpec, Refused, Unavailable
from hunyuan_operator.metrics import Metrics
from hunyuan_operator.workqueue import WorkQueue

KEY = Key("HunyuanDeployment", "demo", "tiny")


class Waits(WorkQueue[Key]):
    """Notes the waits instead of waiting, and ends after the first key."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop(), random.Random(0))
        self.waits: list[float] = []

    def add_after(self, key: Key, delay: float) -> None:
        self.waits.append(delay)
        self.shut_down()


async def outcome(result: Exception | timedelta | None) -> tuple[float, str]:
    """The wait until the key's next turn, and how the metrics count the reconcile."""

    async def reconcile(key: Key) -> timedelta | None:
        assert key == KEY
        if isinstance(result, Exception):
            raise result
        return result

    queue, metrics = Waits(), Metrics()
    controller = Controller(queue=queue, reconcile=reconcile, metrics=metrics, clock=lambda: 0.0, rng=random.Random(0))
    queue.add(KEY)
    await controller.run(workers=1)
    counted = [
        line.split('"')[1]
        for line in metrics.text().decode().splitlines()
        if line.startswith("hunyuan_operator_reconcile_seconds_count") and line.endswith(" 1.0")
    ]
    return queue.waits[0], counted[0]


@pytest.mark.parametrize(
    ("result", "counted", "at_least", "at_most"),
    [
        pytest.param(timedelta(seconds=3), "ok", 3, 3, id="as the reconcile asks"),
        pytest.param(None, "ok", RESYNC.total_seconds(), 720, id="at the latest after ten minutes, with jitter"),
        pytest.param(timedelta(hours=1), "ok", RESYNC.total_seconds(), 720, id="no reconcile can ask for longer"),
        pytest.param(Conflict("old"), "conflict", 0.2, 0.24, id="soon"),
        pytest.param(Unavailable("busy"), "unavailable", 0.2, 0.24, id="with back-off"),
        pytest.param(Unavailable("busy", 9.0), "unavailable", 9, 9, id="as long as the server asks"),
        pytest.param(Refused(Reason.QUOTA_EXCEEDED, "full"), "refused", 30, 30, id="slowly"),
        pytest.param(InvalidSpec("spec.model"), "refused", 30, 30, id="slowly: only a change helps"),
        pytest.param(ZeroDivisionError(), "error", 0.2, 0.24, id="a defect is one key's, not the operator's"),
    ],
)
async def test_when_a_key_comes_back(
    result: Exception | timedelta | None, counted: str, at_least: float, at_most: float
) -> None:
    wait, how = await outcome(result)
    assert at_least <= wait <= at_most
    assert how == counted


async def test_keys_are_worked_on_side_by_side_and_finished_at_the_end() -> None:
    keys = [Key("HunyuanDeployment", "demo", name) for name in "abc"]
    begun, finished = asyncio.Barrier(4), []

    async def reconcile(key: Key) -> None:
        await begun.wait()
        await asyncio.sleep(0)
        finished.append(key)

    queue: WorkQueue[Key] = WorkQueue(asyncio.get_running_loop(), random.Random(0))
    controller = Controller(
        queue=queue, reconcile=reconcile, metrics=Metrics(), clock=lambda: 0.0, rng=random.Random(0)
    )
    for key in keys:
        queue.add(key)
    running = asyncio.create_task(controller.run(workers=3))
    await begun.wait()
    queue.shut_down()
    await running
    assert sorted(finished) == keys
