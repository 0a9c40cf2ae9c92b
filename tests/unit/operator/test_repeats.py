"""When a failure is the same as before; three of the same in a row end all trying, unless it did well in between."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hunyuan_operator.api.reasons import EventReason
from hunyuan_operator.api.times import format_time
from hunyuan_operator.observe.end import End
from hunyuan_operator.plan.fingerprint import fingerprint

from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage, TrainPhase, TrainStatus
from tests.unit.operator.fake_cluster import FakeCluster, deployment
from tests.unit.operator.fake_training import FakeTraining, fine_tune

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
WORDS = "the engine's process 95 on rank 1 died: killed at 12:00:01"


def printed(message: str, reason: str = "WorkerDied", code: int | None = 75) -> str:
    return fingerprint(End(time=NOON, reason=reason, message=message, exit_code=code))


@pytest.mark.parametrize(
    "again",
    [
        pytest.param("the engine's process 112 on rank 7 died: killed at 13:37:00", id="numbers and times"),
        pytest.param("the engine's process 0x7f9c on rank 1 died: killed at 2026-11-24T13:37:00Z", id="hexadecimal"),
    ],
)
def test_numbers_make_no_difference(again: str) -> None:
    assert printed(again) == printed(WORDS)


def test_names_and_addresses_make_none() -> None:
    told = "{} can't be reached at {}: connection {} refused"
    first = told.format("tiny-g0-1-0.tiny-pods", "10.0.0.2:6379", "deadbeefcafe")
    assert printed(told.format("tiny-g0-12-1.tiny-pods", "fd00::2:6379", "abadcafeabba")) == printed(first)


@pytest.mark.parametrize(
    "other",
    [printed("the disk is full"), printed(WORDS, reason="RayFailed"), printed(WORDS, code=137)],
    ids=["words", "reason", "exit code"],
)
def test_what_differs_is_another_failure(other: str) -> None:
    assert other != printed(WORDS)


async def serving(**spec: Any) -> FakeCluster:
    cluster = FakeCluster(subject=deployment(**spec))
    await cluster.serve()
    return cluster


async def fail(cluster: FakeCluster, cause: Cause | int = Cause.WorkerDied, message: str = WORDS) -> None:
    """Rank 1 fails; its group starts again if it may."""
    attempt = cluster.status.group_statuses[0].attempt
    cluster.end(f"tiny-g0-{attempt}-1", cause, message)
    await cluster.settle()
    cluster.let_go()
    cluster.advance(300)
    await cluster.settle()
    cluster.start_pods()
    cluster.make_ready()
    await cluster.settle()


async def test_the_third_of_the_same_stalls_and_says_what_how_often_since_when_and_what_helps() -> None:
    cluster = await serving()
    since = format_time(cluster.now)
    for _ in range(3):
        assert cluster.condition("Ready")[0] == "True"
        await fail(cluster)
    result = await cluster.settle()
    assert (cluster.pods, result.requeue_after) == ([], None)
    for condition in ("Stalled", "Degraded"):
        assert cluster.condition(condition) == ("True", "RepeatedFailure")
    assert cluster.message("Stalled") == (
        f"group 0: failed 3 times in a row in the same way since {since}: WorkerDied: {WORDS}; change the spec or, "
        "once the cause is gone, the annotation hunyuan.dev/retry, to try again"
    )
    assert cluster.status.group_statuses[0].state == "Stalled"
    assert cluster.events[-1].reason is EventReason.STALLED
    assert cluster.status.last_failure is not None
    assert cluster.status.last_failure.fingerprint == cluster.status.group_statuses[0].fingerprint == printed(WORDS)


async def test_another_failure_between_them_begins_anew() -> None:
    cluster = await serving()
    for message in (WORDS, WORDS, "the disk is full", WORDS, WORDS):
        await fail(cluster, message=message)
    assert cluster.condition("Ready")[0] == "True"


async def test_faults_of_nodes_and_disruptions_are_no_part_of_it() -> None:
    cluster = await serving(restart={"limit": 100, "backoff": {"max": "1m"}})
    for _ in range(4):
        await fail(cluster, Cause.GpuFault, "uncorrectable ECC error encountered")
    assert cluster.status.group_statuses[0].fingerprint == ""
    for _ in range(2):
        await fail(cluster)
    await fail(cluster, Cause.GpuFault)
    await cluster.delete(cluster.pod(cluster.pods[0]))
    await cluster.settle()
    cluster.let_go()
    await cluster.serve()
    await fail(cluster)
    assert cluster.condition("Stalled") == ("True", "RepeatedFailure")
    group = cluster.status.group_statuses[0]
    assert (len(group.repeated), len(group.failures)) == (3, 8), "the limit counts faults of nodes, too"


async def test_an_attempt_that_answered_for_ten_minutes_clears_what_was_before() -> None:
    cluster = await serving()
    for _ in range(2):
        await fail(cluster)
    cluster.advance(600)
    await fail(cluster)
    group = cluster.status.group_statuses[0]
    assert (len(group.failures), len(group.repeated)) == (1, 1), "its own is the first again"
    assert cluster.condition("Ready")[0] == "True"


async def test_a_moment_less_does_not() -> None:
    cluster = await serving()
    await fail(cluster)
    cluster.advance(599)
    await fail(cluster)
    assert len(cluster.status.group_statuses[0].repeated) == 2


@pytest.mark.parametrize("how", ["the annotation", "the spec"])
async def test_a_stalled_group_is_tried_again_at_once_when_someone_helps(how: str) -> None:
    cluster = await serving()
    for _ in range(3):
        await fail(cluster)
    if how == "the spec":
        cluster.change(maxModelLen=2048)
    else:
        cluster.ask_for_retry("the driver is mended")
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-4-0", "tiny-g0-4-1"]
    group = cluster.status.group_statuses[0]
    assert (group.failures, group.repeated, group.fingerprint) == ([], [], "")
    await cluster.serve()


@pytest.mark.parametrize("cause", [Cause.ModelNotFound, Cause.WorkerDied], ids=["no retry", "a long back-off"])
async def test_the_annotation_helps_whatever_is_waited_for_and_once(cause: Cause) -> None:
    cluster = await serving(restart={"backoff": {"initial": "10m", "max": "10m"}})
    cluster.end("tiny-g0-1-0", cause)
    await cluster.settle()
    cluster.let_go()
    cluster.advance(1)
    cluster.ask_for_retry("1")
    await cluster.serve()
    cluster.end("tiny-g0-2-0", cause)
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    assert cluster.pods == [], "it was heard before"
    cluster.ask_for_retry("2")
    await cluster.serve()


async def test_the_annotation_disturbs_nothing_that_runs() -> None:
    cluster = await serving()
    cluster.writes.clear()
    cluster.ask_for_retry("1")
    await cluster.settle()
    assert cluster.writes == ["status HunyuanDeployment tiny"]
    assert cluster.condition("Ready")[0] == "True"


async def fail_training(cluster: FakeTraining) -> None:
    cluster.fail(cluster.jobs[-1], 1, Cause.Unexpected, "IndexError: 7")
    await cluster.settle()
    cluster.let_go()
    cluster.advance(300)
    await cluster.settle()
    cluster.run()
    await cluster.settle()


async def training() -> FakeTraining:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(Stage.TRAIN)
    return cluster


async def tell_checkpoint(cluster: FakeTraining, step: int) -> None:
    cluster.tell(TrainStatus(phase=TrainPhase.TRAINING, done=step + 5, total=200, checkpoint=step))
    cluster.advance(60)
    await cluster.settle()


async def test_a_training_that_comes_no_further_stalls_too() -> None:
    cluster = await training()
    await tell_checkpoint(cluster, 100)
    for _ in range(3):
        await fail_training(cluster)
        if cluster.status.state != "Stalled":
            await tell_checkpoint(cluster, 100)
    assert len(cluster.status.stages[1].repeated) == 3, "the first was after a checkpoint, and the first of three"
    assert cluster.condition("Stalled") == ("True", "RepeatedFailure")
    assert cluster.jobs == ["car-check-1"]
    cluster.ask_for_retry("the data is mended")
    await cluster.until(None)


async def test_a_training_that_saves_more_each_time_goes_on() -> None:
    cluster = await training()
    for step in (100, 200, 300, 400):
        await tell_checkpoint(cluster, step)
        await fail_training(cluster)
        assert len(cluster.status.stages[1].failures) == 1
    assert cluster.condition("Stalled") == ("", "")


async def test_a_signal_has_its_name() -> None:
    cluster = await serving()
    cluster.end("tiny-g0-1-1", 139)
    await cluster.settle()
    failure = cluster.status.last_failure
    assert failure is not None
    assert (failure.reason, failure.exit_code, failure.signal) == ("Signalled", 139, "SIGSEGV")
