"""The operator may be started anew at every write: a fine-tune comes to the same end, and nothing runs twice."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage
from tests.unit.operator.fake_api import Crash, Object
from tests.unit.operator.fake_training import FakeTraining, fine_tune

Story = Callable[[FakeTraining], Awaitable[None]]


async def survive(cluster: FakeTraining) -> None:
    """Settle; a process that crashes is followed by another."""
    try:
        await cluster.settle()
    except Crash:
        await cluster.settle()
    check(cluster)


def check(cluster: FakeTraining) -> None:
    """No two attempts of a fine-tune are ever there at once, but for what is done."""
    live = [pod for pod in cluster.live_pods() if pod.get("status", {}).get("phase") != "Succeeded"]
    seats = {tuple(pod["metadata"]["labels"][f"hunyuan.dev/{key}"] for key in ("stage", "attempt")) for pod in live}
    assert len(seats) <= 1, seats


async def play(cluster: FakeTraining) -> None:
    """Kubernetes, time and the operator, until all stages are done or nothing can be."""
    for _ in range(30):
        await survive(cluster)
        if cluster.status.state in {"Complete", "Stalled", "Suspended"} and not list(cluster.live_running()):
            return
        cluster.let_go()
        cluster.run()
        await survive(cluster)
        for job in cluster.jobs:
            cluster.succeed(job)
        cluster.advance(60)
    raise AssertionError(f"no end of it: {cluster.subject['status']}")


async def failure(cluster: FakeTraining) -> None:
    cluster.fail(cluster.jobs[-1], 1, Cause.WorkerDied, "killed")
    await play(cluster)


async def node_fault(cluster: FakeTraining) -> None:
    cluster.fail(cluster.jobs[-1], 1, Cause.GpuFault, "uncorrectable ECC error encountered")
    await play(cluster)


async def hopeless(cluster: FakeTraining) -> None:
    cluster.fail(cluster.jobs[-1], 0, Cause.LossNotFinite, "nan")
    await play(cluster)


async def more_nodes(cluster: FakeTraining) -> None:
    cluster.change(nodes=3)
    await play(cluster)


async def suspend(cluster: FakeTraining) -> None:
    cluster.change(suspend=True)
    await play(cluster)
    cluster.change(suspend=False)
    await play(cluster)


_TIMES = {"failures", "startedAt", "finishedAt", "retryAt", "repeated", "avoidNodes"}


def end_state(cluster: FakeTraining) -> dict[str, Any]:
    """All but times, and names that count writes."""
    status = cluster.subject["status"]
    return {
        "objects": sorted(name for name in cluster.objects if name[0] != "Pod"),
        "conditions": [{**c, "lastTransitionTime": ""} for c in status["conditions"]],
        "stages": [{k: v for k, v in s.items() if k not in _TIMES} for s in status["stages"]],
        "results": [status.get(key) for key in ("state", "finalLoss", "result", "adapter")],
        "lastFailure": without_names(status.get("lastFailure", {})),
    }


def without_names(failure: Object) -> Object:
    return {key: value for key, value in failure.items() if key not in {"time", "pod", "log"}}


async def tell(story: Story, crash_at: int, *, after_effect: bool) -> FakeTraining:
    cluster = FakeTraining(subject=fine_tune())
    if story is not play:
        await cluster.until(Stage.TRAIN)
        cluster.writes.clear()
    cluster.crash_at, cluster.crash_after_effect = crash_at, after_effect
    await story(cluster)
    return cluster


@pytest.mark.parametrize("after_effect", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("story", [play, failure, node_fault, hopeless, more_nodes, suspend])
async def test_a_crash_at_any_write_leads_to_the_same_end(story: Story, *, after_effect: bool) -> None:
    undisturbed = await tell(story, crash_at=0, after_effect=False)
    assert len(undisturbed.writes) >= 3
    for number, write in enumerate(undisturbed.writes, start=1):
        crashed = await tell(story, number, after_effect=after_effect)
        assert end_state(crashed) == end_state(undisturbed), f"crash at write {number}: {write}"
