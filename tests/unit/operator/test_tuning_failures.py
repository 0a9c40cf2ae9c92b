"""Every way in which an attempt of a fine-tune's stage ends, and what is told and done about it."""

from datetime import timedelta

import pytest
from hunyuan_operator.api.reasons import EventReason
from hunyuan_operator.api.times import format_time

from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage
from tests.unit.operator.fake_api import Object
from tests.unit.operator.fake_training import REPORTS, FakeTraining, fine_tune

JOB, NEXT = "car-train-1", "car-train-2"


@pytest.fixture
async def cluster() -> FakeTraining:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(Stage.TRAIN)
    cluster.writes.clear()
    cluster.events.clear()
    return cluster


def name_of(cluster: FakeTraining, rank: int) -> str:
    return str(cluster.pods_of(JOB)[rank]["metadata"]["name"])


async def recover(cluster: FakeTraining) -> None:
    """Kubelets let go and the back-off passes; the next attempt runs."""
    await cluster.settle()
    cluster.let_go()
    cluster.advance(30)
    await cluster.settle()
    cluster.run()
    await cluster.settle()


async def test_one_ranks_end_ends_the_attempt_and_its_cause_stays_in_status(cluster: FakeTraining) -> None:
    culprit = name_of(cluster, 1)
    cluster.fail(JOB, 1, Cause.WorkerDied, "worker 0 was killed by SIGKILL")
    await cluster.settle()
    failure = cluster.subject["status"]["lastFailure"]
    assert len(failure.pop("fingerprint")) == 8
    assert failure == {
        "time": format_time(cluster.now),
        "stage": "train",
        "attempt": 1,
        "pod": culprit,
        "container": "runtime",
        "node": "node-2",
        "exitCode": 75,
        "reason": "WorkerDied",
        "message": "worker 0 was killed by SIGKILL",
        "retryable": True,
        "log": f"last words of {culprit}/runtime\n",
    }, "though the pod that Kubernetes deleted for it ended in the same second"
    assert (cluster.status.state, cluster.condition("Trained")) == ("BackOff", ("False", "StageFailed"))
    assert cluster.condition("Progressing") == ("True", "BackOff")
    assert cluster.jobs == ["car-check-1"]
    (event,) = cluster.events
    assert event.reason is EventReason.ATTEMPT_FAILED
    assert f"stage train, attempt 1, pod {culprit} on node node-2, exit code 75: WorkerDied" in event.note


async def test_the_cause_is_in_status_before_the_job_goes(cluster: FakeTraining) -> None:
    cluster.fail(JOB, 1, Cause.WorkerDied)
    await cluster.settle()
    assert cluster.writes[:2] == ["status HunyuanFineTune car", f"delete Job {JOB}"]


async def test_the_next_attempt_waits_for_the_back_off_and_for_the_old_pods(cluster: FakeTraining) -> None:
    cluster.fail(JOB, 1, 1)
    await cluster.settle()
    cluster.advance(9)
    cluster.let_go()
    result = await cluster.settle()
    assert NEXT not in cluster.jobs
    assert result.requeue_after is not None
    cluster.now += result.requeue_after
    await cluster.settle()
    assert NEXT in cluster.jobs
    await cluster.until(None)
    assert cluster.status.stages[1].attempt == 2
    assert cluster.status.last_failure is not None, "the cause stays after the recovery"


async def test_pods_that_can_save_nothing_more_go_at_once(cluster: FakeTraining) -> None:
    cluster.fail(JOB, 1, Cause.WorkerDied)
    await cluster.settle()
    graces = {one["metadata"].get("deletionGracePeriodSeconds") for one in cluster.pods_of(JOB)}
    assert graces == {30}, "though Kubernetes gave one of them 300 seconds"


async def test_nobody_waits_for_ever_for_a_pod_of_a_lost_node(cluster: FakeTraining) -> None:
    taint = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    lost = cluster.pods_of(JOB)[1]
    lost["status"]["conditions"].append(taint | {"lastTransitionTime": format_time(cluster.now), "message": "gone"})
    cluster.remove(("Pod", lost["metadata"]["name"]))
    await cluster.settle()
    stage = cluster.status.stages[1]
    assert (stage.reason, stage.failures) == ("NodeLost", [])
    del cluster.objects["Pod", name_of(cluster, 0)]
    cluster.advance(61)
    await cluster.settle()
    assert NEXT in cluster.jobs
    assert lost["metadata"]["name"] in cluster.pods, "still there, as long as nobody says that its node is gone"


async def test_a_rank_that_lost_another_is_believed_only_after_that_one_had_its_say(cluster: FakeTraining) -> None:
    cluster.fail(JOB, 0, Cause.RankLost, "rank 1 has not answered", ranks=(1,))
    cluster.objects["Pod", name_of(cluster, 1)]["metadata"].pop("deletionTimestamp")
    await cluster.settle()
    assert cluster.status.last_failure is None
    cluster.fail(JOB, 1, Cause.LossNotFinite, "loss is nan at step 7")
    await cluster.settle()
    assert cluster.status.last_failure is not None
    assert cluster.status.last_failure.reason == "LossNotFinite"


async def test_a_rank_that_hung_is_named_by_the_one_that_lost_it(cluster: FakeTraining) -> None:
    hung = name_of(cluster, 1)
    cluster.fail(JOB, 0, Cause.RankLost, "rank 1 has not answered for 120 s", ranks=(1,))
    await cluster.settle()
    failure = cluster.status.last_failure
    assert failure is not None
    assert (failure.reason, failure.pod, failure.node) == ("RankLost", hung, "node-2")
    assert len(cluster.status.stages[1].failures) == 1, "Kubernetes deleted the other pod for it: no disruption"


@pytest.mark.parametrize("cause", [cause for cause in Cause if not cause.retryable], ids=lambda cause: str(cause.name))
async def test_what_a_retry_cannot_help_stalls_and_leaves_nothing_running(cause: Cause) -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(Stage.CHECK)
    cluster.fail("car-check-1", 0, cause, "line 317")
    await cluster.settle()
    cluster.let_go()
    result = await cluster.settle()
    assert (cluster.jobs, cluster.pods, result.requeue_after) == ([], [], None)
    assert cluster.status.state == "Stalled"
    for condition in ("Stalled", "Degraded"):
        assert cluster.condition(condition) == ("True", cause.name)
        assert "line 317" in cluster.message(condition)
    for condition in ("Ready", "Progressing"):
        assert cluster.condition(condition) == ("False", cause.name)
    assert cluster.condition("DataValidated") == ("False", "StageFailed")
    assert cluster.condition("Reconciling") == ("", "")
    assert [event.reason for event in cluster.events][-2:] == [EventReason.ATTEMPT_FAILED, EventReason.STALLED]


@pytest.mark.parametrize("help_", ["a new spec", "suspend and resume"])
async def test_a_stalled_stage_starts_again_when_someone_helps(cluster: FakeTraining, help_: str) -> None:
    cluster.fail(JOB, 0, Cause.GpuMemoryExhausted, "96 GB is too little")
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    if help_ == "a new spec":
        cluster.change(nodes=4)
    else:
        cluster.change(suspend=True)
        await cluster.settle()
        cluster.change(suspend=False)
    await cluster.settle()
    assert NEXT in cluster.jobs
    assert cluster.condition("Stalled") == ("", "")
    await cluster.until(None)


async def test_too_many_failures_stall_until_the_window_frees() -> None:
    cluster = FakeTraining(subject=fine_tune(restart={"limit": 1, "window": "1h"}))
    await cluster.until(Stage.TRAIN)
    for attempt in (1, 2):
        cluster.fail(f"car-train-{attempt}", 1, Cause.SaveFailed, "no space left")
        await recover(cluster)
    assert cluster.condition("Stalled") == ("True", "RestartLimitReached")
    assert cluster.status.state == "Stalled"
    assert cluster.jobs == ["car-check-1"]
    result = await cluster.settle()
    assert result.requeue_after is not None
    cluster.now += result.requeue_after
    await cluster.settle()
    assert "car-train-3" in cluster.jobs


def delete(cluster: FakeTraining) -> None:
    cluster.remove(("Pod", name_of(cluster, 1)))


def preempt(cluster: FakeTraining) -> None:
    told = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "by other"}
    moment = {"lastTransitionTime": format_time(cluster.now)}
    cluster.pods_of(JOB)[1]["status"]["conditions"].append(told | moment)
    delete(cluster)


def drain(cluster: FakeTraining) -> None:
    """The pod was told to end while nobody looked, and all have saved since."""
    cluster.end(name_of(cluster, 0), 143)
    cluster.evaporate(name_of(cluster, 1))


def delete_and_save(cluster: FakeTraining) -> None:
    """Rank 1 is told to go, both save; with a finalizer on the pod, its deletion then bears a later time."""
    for rank in (0, 1):
        cluster.fail(JOB, rank, 143)
    later = format_time(cluster.now + timedelta(seconds=1))
    cluster.pods_of(JOB)[1]["metadata"] |= {"deletionTimestamp": later, "deletionGracePeriodSeconds": 0}


def delete_job(cluster: FakeTraining) -> None:
    cluster.remove(("Job", JOB))


def forget_all(cluster: FakeTraining) -> None:
    """All is gone without a trace."""
    delete_job(cluster)
    cluster.let_go()


@pytest.mark.parametrize(
    ("disrupt", "reason"),
    [
        (delete, "PodDeleted"),
        (delete_and_save, "PodDeleted"),
        (preempt, "Preempted"),
        (drain, "Signalled"),
        (delete_job, "PodDeleted"),
        (forget_all, "PodDeleted"),
    ],
)
async def test_disruptions_do_not_count_and_the_training_goes_on(
    cluster: FakeTraining, disrupt: object, reason: str
) -> None:
    assert callable(disrupt)
    disrupt(cluster)
    await cluster.settle()
    cluster.advance(5)
    await cluster.settle()
    stage = cluster.status.stages[1]
    assert (stage.reason, stage.failures) == (reason, [])
    await recover(cluster)
    assert len(cluster.pods_of(NEXT)) == 2
    await cluster.until(None)


async def test_who_gives_up_on_pods_that_never_ran_burns_no_restart() -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(Stage.TRAIN)
    del cluster.pods_of(JOB)[1]["spec"]["nodeName"]
    cluster.trouble(name_of(cluster, 1), "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    await cluster.settle()
    assert cluster.condition("Scheduled") == ("False", "Unschedulable")
    assert cluster.condition("Degraded") == ("True", "Unschedulable")
    cluster.fail(JOB, 0, Cause.RanksMissing, "rank 1 has not come", container="preflight")
    cluster.advance(6)
    await cluster.settle()
    stage = cluster.status.stages[1]
    assert (stage.reason, stage.failures) == ("RanksMissing", [])


async def test_a_network_that_fails_is_named(cluster: FakeTraining) -> None:
    cluster.fail(JOB, 0, Cause.NetworkSlow, "eth0 carries 3 Mbit/s", ranks=(0, 1), container="preflight")
    await cluster.settle()
    assert cluster.condition("NetworkVerified") == ("False", "NetworkSlow")
    assert "3 Mbit/s" in cluster.message("NetworkVerified")


async def test_a_job_that_is_done_without_a_report_is_tried_again(cluster: FakeTraining) -> None:
    cluster.succeed(JOB)
    cluster.pods_of(JOB)[0]["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = "?"
    cluster.advance(5)
    await cluster.settle()
    stage = cluster.status.stages[1]
    assert (stage.finished_at, stage.reason, len(stage.failures)) == ("", "Exited", 1)


async def test_a_report_whose_pod_is_gone_is_made_again(cluster: FakeTraining) -> None:
    cluster.succeed(JOB)
    cluster.evaporate(name_of(cluster, 0))
    cluster.advance(5)
    await cluster.settle()
    stage = cluster.status.stages[1]
    assert (stage.reason, stage.failures) == ("PodDeleted", [])
    await recover(cluster)
    await cluster.until(None)


async def test_a_success_counts_though_the_stage_was_suspended_meanwhile(cluster: FakeTraining) -> None:
    cluster.change(suspend=True)
    cluster.succeed(JOB)
    await cluster.settle()
    assert cluster.condition("Trained") == ("True", "StageSucceeded")
    assert cluster.status.state == "Suspended"
    assert cluster.status.final_loss == REPORTS[Stage.TRAIN].loss
    assert not [pod for pod in cluster.live_pods() if pod["status"]["phase"] == "Running"]


@pytest.mark.parametrize("stage", [Stage.CHECK, Stage.TRAIN, Stage.MERGE, None])
async def test_a_lost_status_is_told_by_jobs_and_pods(stage: Stage | None) -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(stage)
    jobs, before = cluster.jobs, cluster.status
    del cluster.subject["status"]
    await cluster.settle()
    assert cluster.jobs == jobs
    assert cluster.status.stage == before.stage
    assert [one.attempt for one in cluster.status.stages] == [one.attempt for one in before.stages]
    assert cluster.status.result == before.result
    await cluster.until(None)


@pytest.mark.parametrize(
    ("kind", "name"), [("Job", "car-check-1"), ("Service", "car-ranks"), ("ServiceAccount", "car-finetune")]
)
@pytest.mark.parametrize("labelled", [False, True], ids=["someone's", "an earlier fine-tune's of the same name"])
async def test_an_object_of_someone_else_is_never_touched(kind: str, name: str, *, labelled: bool) -> None:
    metadata: Object = {"name": name, "namespace": "demo", "uid": "theirs", "labels": {}, "ownerReferences": []}
    if labelled:
        metadata["labels"] = {"hunyuan.dev/finetune": "car"}
        metadata["ownerReferences"] = [{"uid": "earlier", "controller": True}]
    theirs: Object = {"kind": kind, "metadata": metadata, "spec": {}}
    cluster = FakeTraining(subject=fine_tune(), objects={(kind, name): theirs})
    await cluster.settle()
    assert cluster.objects[kind, name] is theirs
    assert cluster.condition("Degraded") == ("True", "NameConflict")
    assert f"{kind} {name}" in cluster.message("Degraded")
    del cluster.objects[kind, name]
    await cluster.until(None)


async def test_a_spec_that_cannot_be_understood_is_refused_and_its_pods_run_on(cluster: FakeTraining) -> None:
    pods = cluster.pods
    cluster.change(nodes="many")
    await cluster.settle()
    assert cluster.condition("Stalled") == ("True", "InvalidSpec")
    assert "spec.nodes" in cluster.message("Stalled")
    assert cluster.pods == pods
    assert cluster.condition("DataValidated") == ("True", "StageSucceeded")
    assert [event.reason for event in cluster.events] == [EventReason.REFUSED, EventReason.STALLED]
    cluster.change(nodes=2)
    await cluster.until(None)
    assert cluster.condition("Stalled") == ("", "")


async def test_a_rank_whose_work_is_done_is_no_casualty_before_its_pods_phase_says_so(cluster: FakeTraining) -> None:
    """The kubelet tells of the container's end a moment earlier."""
    state = {"exitCode": 0, "reason": "Completed", "message": "", "finishedAt": format_time(cluster.now)}
    cluster.pods_of(JOB)[1]["status"] |= {"containerStatuses": [{"name": "runtime", "state": {"terminated": state}}]}
    await cluster.settle()
    assert cluster.status.last_failure is None
    assert cluster.jobs == ["car-check-1", JOB]
