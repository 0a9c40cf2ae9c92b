"""Every way in which an attempt ends, and what is told and done about it."""

from datetime import timedelta

import pytest
from hunyuan_operator.api.reasons import EventReason
from hunyuan_operator.observe.manifest import Manifest

from hunyuan_runtime.termination import Cause
from tests.unit.operator.fake_cluster import ARCHITECTURE, FakeCluster, Object, deployment

LEADER, WORKER = "tiny-g0-1-0", "tiny-g0-1-1"


async def test_one_ranks_end_ends_the_whole_group_and_its_cause_stays_in_status(cluster: FakeCluster) -> None:
    cluster.end(WORKER, Cause.WorkerDied, "rank 1's engine process was killed")
    await cluster.settle()
    failure = cluster.subject["status"]["lastFailure"]
    assert len(failure.pop("fingerprint")) == 8
    assert failure == {
        "time": "2026-11-24T12:00:01Z",
        "group": 0,
        "attempt": 1,
        "pod": WORKER,
        "container": "runtime",
        "node": "node-1",
        "exitCode": 75,
        "reason": "WorkerDied",
        "message": "rank 1's engine process was killed",
        "retryable": True,
        "log": f"last words of {WORKER}/runtime\n",
    }
    assert not list(cluster.live_pods())
    assert cluster.condition("Ready") == ("False", "BackOff")
    assert [event.reason for event in cluster.events] == [EventReason.ATTEMPT_FAILED]
    assert f"pod {WORKER} on node node-1, exit code 75" in cluster.events[0].note


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        pytest.param([(WORKER, 137, {"reason": "OOMKilled"})], (WORKER, "OOMKilled", 137, "SIGKILL"), id="memory"),
        pytest.param([(WORKER, 139, {})], (WORKER, "Signalled", 139, "SIGSEGV"), id="a signal"),
        pytest.param([(WORKER, 3, {})], (WORKER, "Exited", 3, ""), id="an exit code of nobody's"),
        pytest.param([(WORKER, Cause.RayFailed, {})], (WORKER, "RayFailed", 72, ""), id="the runtime's own"),
        pytest.param(
            [(LEADER, 1, {"ago": 2}), (WORKER, 139, {"ago": 5})],
            (WORKER, "Signalled", 139, "SIGSEGV"),
            id="the first by time, not by rank",
        ),
        pytest.param(
            [(WORKER, Cause.NetworkSlow, {"container": "preflight"})],
            (WORKER, "NetworkSlow", 81, ""),
            id="an init container",
        ),
    ],
)
async def test_the_failure_names_who_and_how(
    cluster: FakeCluster, ends: list[tuple[str, Cause | int, Object]], told: tuple[str, str, int, str]
) -> None:
    cluster.advance(10)
    for name, how, more in ends:
        cluster.end(name, how, **more)
    await cluster.settle()
    failure = cluster.status.last_failure
    assert failure is not None
    assert (failure.pod, failure.reason, failure.exit_code, failure.signal) == told
    assert failure.node == "node-1"
    assert failure.container == ends[0][2].get("container", "runtime")


async def test_the_last_twenty_lines_of_the_culprits_log_are_kept(cluster: FakeCluster) -> None:
    async def log_tail(pod: Manifest, container: str, lines: int) -> str:
        return "".join(f"{line} {pod['metadata']['name']}/{container}\n" for line in range(lines))

    cluster.log_tail = log_tail  # type: ignore[method-assign]  # a kubelet with much to say
    cluster.end(WORKER, 1)
    await cluster.settle()
    assert cluster.status.last_failure is not None
    lines = cluster.status.last_failure.log.splitlines()
    assert (len(lines), lines[-1]) == (20, f"19 {WORKER}/runtime")


async def test_a_rank_that_cannot_tell_is_named_by_another(cluster: FakeCluster) -> None:
    cluster.end(LEADER, Cause.RankUnreachable, "rank 1 has not answered for 4 s", ranks=(1,))
    await cluster.settle()
    failure = cluster.subject["status"]["lastFailure"]
    assert (failure["reason"], failure["pod"], failure["node"]) == ("RankUnreachable", WORKER, "node-1")
    assert failure["message"] == f"rank 1 has not answered for 4 s ({WORKER} is on node-1)"
    assert "exitCode" not in failure, "its own container has not ended"
    assert failure["log"] == f"last words of {LEADER}/runtime\n", "whose node can be reached"
    assert cluster.condition("Ready") == ("False", "BackOff")


async def test_a_lost_leader_is_named_at_once(cluster: FakeCluster) -> None:
    cluster.end(WORKER, Cause.LeaderLost, "no answer for 6 s", ranks=(0,))
    await cluster.settle()
    assert cluster.status.last_failure is not None
    assert (cluster.status.last_failure.pod, cluster.status.last_failure.node) == (LEADER, "node-0")


@pytest.mark.parametrize(
    ("cause", "grace"),
    [
        pytest.param(Cause.WorkerDied, 30, id="nothing to wait for: it can't answer any more"),
        pytest.param(None, None, id="someone deleted a pod: what runs may end"),
    ],
)
async def test_a_group_that_can_still_answer_gets_the_time_for_it(
    cluster: FakeCluster, cause: Cause | None, grace: int | None
) -> None:
    asked: list[object] = []
    cluster.refuse = lambda verb, manifest: (
        asked.append(manifest["metadata"].get("deletionGracePeriodSeconds")) if verb == "delete" else None
    )
    if cause:
        cluster.end(WORKER, cause)
    else:
        await cluster.delete(cluster.pod(WORKER))
        asked.clear()
    await cluster.settle()
    assert asked
    assert set(asked) == {grace}


async def test_the_next_attempt_waits_for_the_back_off(cluster: FakeCluster) -> None:
    cluster.end(WORKER, 1)
    await cluster.settle()
    cluster.let_go()
    cluster.advance(4)
    result = await cluster.settle()
    assert cluster.pods == []
    assert result.requeue_after == timedelta(seconds=6)
    cluster.advance(6)
    await cluster.serve()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]
    assert cluster.condition("Degraded") == ("False", "NoFailure")
    assert cluster.status.last_failure is not None, "the cause stays after the recovery"


async def test_it_waits_for_the_old_pods_too(cluster: FakeCluster) -> None:
    cluster.end(WORKER, 1)
    await cluster.settle()
    cluster.advance(20)
    await cluster.settle()
    assert cluster.pods == [LEADER, WORKER]
    cluster.let_go()
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]


async def test_a_leaders_complaint_waits_for_the_rank_that_broke_it(cluster: FakeCluster) -> None:
    cluster.end(LEADER, Cause.EngineFailed, "the engine is dead")
    result = await cluster.settle()
    assert cluster.status.last_failure is None
    assert result.requeue_after is not None
    cluster.advance(2)
    cluster.end(WORKER, Cause.WorkerDied, "killed")
    await cluster.settle()
    assert cluster.status.last_failure is not None
    assert cluster.status.last_failure.pod == WORKER


@pytest.mark.parametrize("cause", [cause for cause in Cause if not cause.retryable], ids=lambda cause: str(cause.name))
async def test_what_a_retry_cannot_help_stalls_at_once_and_frees_the_gpus(cluster: FakeCluster, cause: Cause) -> None:
    cluster.end(LEADER, cause, "no folder /models/x")
    await cluster.settle()
    cluster.let_go()
    result = await cluster.settle()
    assert cluster.pods == []
    assert result.requeue_after is None
    for condition in ("Stalled", "Degraded"):
        assert cluster.condition(condition) == ("True", cause.name)
        assert "/models/x" in cluster.message(condition)
    assert cluster.condition("Progressing") == ("False", cause.name)
    assert cluster.condition("Ready") == ("False", cause.name)
    assert cluster.condition("Reconciling") == ("", "")
    assert [event.reason for event in cluster.events] == [EventReason.ATTEMPT_FAILED, EventReason.STALLED]


@pytest.mark.parametrize("help_", ["a new spec", "suspend and resume"])
async def test_a_stalled_group_starts_again_when_someone_helps(cluster: FakeCluster, help_: str) -> None:
    cluster.end(LEADER, Cause.ModelNotFound, "no folder")
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    if help_ == "a new spec":
        cluster.change(model={"pvc": {"claimName": "models", "path": "there"}, "architecture": ARCHITECTURE})
    else:
        cluster.change(suspend=True)
        await cluster.settle()
        cluster.change(suspend=False)
    await cluster.serve()
    assert cluster.condition("Stalled") == ("", "")


async def test_too_many_failures_stall_until_the_window_frees() -> None:
    cluster = FakeCluster(subject=deployment(restart={"limit": 1, "window": "1h"}))
    for attempt in (1, 2):
        await cluster.serve()
        cluster.end(f"tiny-g0-{attempt}-1", 1)
        await cluster.settle()
        cluster.let_go()
        cluster.advance(30)
    result = await cluster.settle()
    assert cluster.condition("Stalled") == ("True", "RestartLimitReached")
    assert "more than 1 failures within 1h" in cluster.message("Stalled")
    assert result.requeue_after is not None
    cluster.now += result.requeue_after
    await cluster.serve()
    assert cluster.condition("Stalled") == ("", "")


async def test_a_deleted_pod_restarts_the_group_and_does_not_count(cluster: FakeCluster) -> None:
    await cluster.delete(cluster.pod(WORKER))
    await cluster.settle()
    assert cluster.status.last_failure is not None
    assert cluster.status.last_failure.reason == "PodDeleted"
    assert cluster.status.group_statuses[0].failures == []


@pytest.mark.parametrize("gone", [[WORKER], [LEADER, WORKER]], ids=["one", "all"])
async def test_pods_that_vanish_without_a_trace_end_the_attempt_too(cluster: FakeCluster, gone: list[str]) -> None:
    for name in gone:
        cluster.evaporate(name)
    await cluster.settle()
    failure = cluster.status.last_failure
    assert failure is not None
    assert (failure.reason, failure.pod) == ("PodDeleted", gone[0])
    cluster.advance(20)
    await cluster.serve()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]


async def test_giving_up_on_a_rank_that_never_came_to_run_does_not_count() -> None:
    cluster = FakeCluster(subject=deployment())
    await cluster.settle()
    cluster.start_pods()
    cluster.trouble(WORKER, "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    cluster.end(LEADER, Cause.RanksMissing, "rank 1 has not joined within 600 s", ago=10)
    await cluster.settle()
    group = cluster.status.group_statuses[0]
    assert (group.reason, group.failures) == ("RanksMissing", [])


async def test_nobody_waits_for_ever_for_a_pod_of_a_lost_node(cluster: FakeCluster) -> None:
    cluster.end(LEADER, Cause.RayFailed)
    await cluster.settle()
    cluster.objects = {name: o for name, o in cluster.objects.items() if name[1] != LEADER}
    cluster.advance(31)
    result = await cluster.settle()
    assert cluster.pods == [WORKER]
    assert result.requeue_after is not None
    cluster.advance(30)
    await cluster.settle()
    assert cluster.pods == [WORKER, "tiny-g0-2-0", "tiny-g0-2-1"]


async def test_groups_fail_on_their_own() -> None:
    cluster = FakeCluster(subject=deployment(groups=2))
    await cluster.serve()
    cluster.end("tiny-g1-1-0", Cause.RayFailed)
    await cluster.settle()
    assert {pod["metadata"]["name"] for pod in cluster.live_pods()} == {"tiny-g0-1-0", "tiny-g0-1-1"}
    assert cluster.status.ready_groups == 1


async def test_a_lost_status_is_told_by_the_pods_labels(cluster: FakeCluster) -> None:
    cluster.end(WORKER, 1)
    await cluster.settle()
    cluster.let_go()
    cluster.advance(10)
    await cluster.serve()
    del cluster.subject["status"]
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]
    assert cluster.status.group_statuses[0].attempt == 2
    assert cluster.condition("Ready")[0] == "True"
