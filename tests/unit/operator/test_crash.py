"""A crash between any two writes is harmless: whatever was done so far, the next process comes to the same end."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hunyuan_runtime.termination import Cause
from tests.unit.operator.fake_cluster import Crash, FakeCluster, deployment

Story = Callable[[FakeCluster], Awaitable[None]]


async def survive(cluster: FakeCluster) -> None:
    """Settle; a process that crashes is followed by another."""
    try:
        await cluster.settle()
    except Crash:
        await cluster.settle()


async def play(cluster: FakeCluster) -> None:
    """Scheduler, kubelets, time and the operator, until a round of all of them changes nothing."""
    for _ in range(20):
        before = len(cluster.writes)
        await survive(cluster)
        cluster.let_go()
        cluster.start_pods()
        cluster.make_ready()
        cluster.advance(60)
        if len(cluster.writes) == before:
            return
    raise AssertionError(f"no end of writing: {cluster.writes[-5:]}")


async def failure(cluster: FakeCluster) -> None:
    cluster.end("tiny-g0-1-1", Cause.WorkerDied, "killed")
    await play(cluster)


async def node_fault(cluster: FakeCluster) -> None:
    """The next attempt avoids the node, and finds no other until it avoids none."""
    cluster.end("tiny-g0-1-1", Cause.GpuFault, "uncorrectable ECC error encountered")
    await survive(cluster)
    cluster.let_go()
    cluster.advance(60)
    await survive(cluster)
    cluster.trouble("tiny-g0-2-1", "0/2 nodes are available")
    await survive(cluster)
    cluster.advance(120)
    await play(cluster)


async def repeated(cluster: FakeCluster) -> None:
    """The same three times, which stalls, and then someone's help."""
    for attempt in (1, 2, 3):
        cluster.end(f"tiny-g0-{attempt}-1", Cause.WorkerDied, f"process {attempt} was killed")
        await play(cluster)
    cluster.ask_for_retry("now")
    await play(cluster)


async def hopeless(cluster: FakeCluster) -> None:
    cluster.end("tiny-g0-1-0", Cause.ModelNotFound, "no folder")
    await play(cluster)


async def new_revision(cluster: FakeCluster) -> None:
    cluster.change(maxModelLen=2048)
    await play(cluster)


async def scale(cluster: FakeCluster) -> None:
    cluster.change(groups=3)
    await play(cluster)
    cluster.change(groups=1)
    await play(cluster)


async def suspend(cluster: FakeCluster) -> None:
    cluster.change(suspend=True)
    await play(cluster)
    cluster.change(suspend=False)
    await play(cluster)


_TIMES = {"failures", "startedAt", "readyAt", "retryAt", "repeated", "avoidNodes"}


def end_state(cluster: FakeCluster) -> dict[str, Any]:
    """All but times, and what only counts passes."""
    status = cluster.subject["status"]
    return {
        "objects": sorted(cluster.objects),
        "revisions": {name: cluster.pod(name)["metadata"]["labels"]["hunyuan.dev/revision"] for name in cluster.pods},
        "conditions": [{**c, "lastTransitionTime": ""} for c in status["conditions"]],
        "memories": [{k: v for k, v in g.items() if k not in _TIMES} for g in status["groupStatuses"]],
        "lastFailure": {**status.get("lastFailure", {}), "time": ""},
    }


async def tell(story: Story, crash_at: int, *, after_effect: bool) -> FakeCluster:
    cluster = FakeCluster(subject=deployment(groups=2))
    if story is not play:
        await play(cluster)
        cluster.writes.clear()
    cluster.crash_at, cluster.crash_after_effect = crash_at, after_effect
    await story(cluster)
    return cluster


@pytest.mark.parametrize("after_effect", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("story", [play, failure, node_fault, repeated, hopeless, new_revision, scale, suspend])
async def test_a_crash_at_any_write_leads_to_the_same_end(story: Story, after_effect: bool) -> None:
    undisturbed = await tell(story, crash_at=0, after_effect=False)
    assert len(undisturbed.writes) >= 3
    for number, write in enumerate(undisturbed.writes, start=1):
        crashed = await tell(story, number, after_effect=after_effect)
        assert end_state(crashed) == end_state(undisturbed), f"crash at write {number}: {write}"
