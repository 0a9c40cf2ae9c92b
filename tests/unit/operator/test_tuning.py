"""A fine-tune's life, from its data's check to its result, and through every change of its spec."""

from datetime import timedelta
from typing import Any

import pytest
from hunyuan_operator.api import names
from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.api.reasons import EventReason

from hunyuan_runtime.config import CONFIG_PATH, Phase, Progress, Rank, RuntimeStatus
from hunyuan_runtime.train_config import Stage, StageReport, TrainConfig, TrainPhase, TrainStatus
from tests.unit.operator.fake_api import Object
from tests.unit.operator.fake_training import REPORTS, FakeTraining, fine_tune

EVALUATION: Object = {"pvc": {"claimName": "data", "path": "car_test.jsonl"}}


async def at(stage: Stage | None, **spec: Any) -> FakeTraining:
    cluster = FakeTraining(subject=fine_tune(**spec))
    await cluster.until(stage)
    cluster.writes.clear()
    cluster.events.clear()
    return cluster


def config_of(cluster: FakeTraining) -> TrainConfig:
    (config_map,) = [o for (kind, _), o in cluster.objects.items() if kind == "ConfigMap"]
    return TrainConfig.model_validate_json(config_map["data"][CONFIG_PATH.name])


async def test_its_first_attempt_is_remembered_before_anything_is_made_and_asks_for_no_gpu() -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.pass_once()
    assert cluster.writes[0] == "status HunyuanFineTune car"
    assert [write.split()[:2] for write in cluster.writes[1:]] == [
        ["create", kind] for kind in ("ServiceAccount", "ConfigMap", "Service", "Job")
    ]
    assert cluster.jobs == ["car-check-1"]
    job = cluster.objects["Job", "car-check-1"]["spec"]
    assert "nvidia.com/gpu" not in job["template"]["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    ("spec", "stages"),
    [
        pytest.param({}, "check train merge", id="LoRA"),
        pytest.param({"after": {"quantize": "fp8"}}, "check train merge quantize", id="quantised"),
        pytest.param({"evaluation": EVALUATION}, "check train merge evaluate", id="evaluated"),
    ],
)
async def test_stages_run_one_after_the_other_as_the_spec_asks(spec: Object, stages: str) -> None:
    cluster = await at(None, **spec)
    assert cluster.jobs == sorted(f"car-{stage}-1" for stage in stages.split())
    assert [stage.name for stage in cluster.status.stages] == stages.split()
    assert cluster.condition("Ready") == ("True", "Complete")
    assert (cluster.status.stage, cluster.status.state) == ("", "Complete")


async def test_its_result_is_in_status_with_all_figures() -> None:
    status = (await at(None, evaluation=EVALUATION)).subject["status"]
    assert status["finalLoss"] == 0.0625
    assert status["result"] == {"claimName": "models", "path": "car/merged", "digest": "bbbb"}
    assert status["adapter"] == {"claimName": "models", "path": "car/adapter", "digest": "aaaa"}
    assert status["evaluation"] == {"loss": 0.25, "accuracy": 0.5, "fieldAccuracy": 0.75}
    assert "lastFailure" not in status


@pytest.mark.parametrize(("method", "merge"), [("lora", False), ("full", True), ("attention", True)])
async def test_only_what_lora_trained_can_be_left_unmerged(method: str, *, merge: bool) -> None:
    cluster = await at(Stage.MERGE, method=method, after={"merge": {"enabled": False}})
    assert config_of(cluster).merge is merge


async def test_an_adapter_alone_is_no_model_to_serve() -> None:
    cluster = await at(Stage.MERGE, after={"merge": {"enabled": False}})
    cluster.succeed("car-merge-1", StageReport(stage=Stage.MERGE, adapter="adapter", adapter_digest="aaaa"))
    await cluster.settle()
    assert cluster.status.result is None
    assert cluster.status.adapter is not None
    assert cluster.condition("Ready") == ("True", "Complete")
    assert cluster.message("Ready") == "car/adapter in claim models"


async def test_a_model_is_the_result_only_when_it_is_quantised_if_that_was_asked_for() -> None:
    cluster = await at(Stage.QUANTIZE, after={"quantize": "fp8"})
    assert cluster.status.result is None
    cluster.succeed("car-quantize-1")
    await cluster.settle()
    assert cluster.status.result is not None
    assert (cluster.status.result.path, cluster.status.result.digest) == ("car/fp8", "cccc")


async def test_quantising_that_is_given_up_leaves_the_merged_model_as_the_result() -> None:
    cluster = await at(Stage.QUANTIZE, after={"quantize": "fp8"})
    cluster.change(after={"quantize": "none"})
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    assert cluster.status.state == "Complete"
    assert cluster.status.result is not None
    assert cluster.status.result.path == "car/merged"
    assert "car-quantize-1" not in cluster.jobs


async def test_every_rank_is_told_who_it_is_and_what_to_do() -> None:
    cluster = await at(Stage.TRAIN)
    pods = cluster.pods_of("car-train-1")
    for index, pod in enumerate(pods):
        env = {one["name"]: one.get("value", "10.0.0.1") for one in pod["spec"]["containers"][0]["env"]}
        annotation = {"HUNYUAN_RANK": pod["metadata"]["annotations"][names.COMPLETION_INDEX]}
        rank = Rank.from_env(env | annotation)
        assert (rank.index, rank.leader) == (index, "car-train-1-0.car-ranks")
        assert rank.peers == ("car-train-1-0.car-ranks", "car-train-1-1.car-ranks")
    config = config_of(cluster)
    assert (config.model_path, config.data_path, config.output) == (
        "/models/tiny",
        "/data/car_train.jsonl",
        "/output/car",
    )
    assert config.world_size == 2


async def test_conditions_follow_the_training() -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.settle()
    assert (cluster.status.state, cluster.condition("Scheduled")) == ("Pending", ("False", "PodsPending"))
    cluster.run()
    await cluster.settle()
    assert cluster.condition("Scheduled") == ("True", "AllPodsScheduled")
    assert cluster.status.state == "Starting"
    cluster.tell(TrainStatus(phase=TrainPhase.CHECKING, done=3000, total=4605))
    await cluster.settle()
    assert cluster.status.state == "Checking"
    assert cluster.message("DataValidated") == "3000 of 4605"
    assert cluster.condition("Trained") == ("False", "StageWaiting")
    await cluster.until(Stage.TRAIN)
    assert cluster.condition("DataValidated") == ("True", "StageSucceeded")
    assert cluster.condition("Trained") == ("False", "StageRunning")
    assert cluster.condition("NetworkVerified") == ("True", "LinksVerified")
    assert cluster.condition("Reconciling") == ("True", "StageRunning")
    assert cluster.condition("Ready") == ("False", "NotComplete")


async def test_progress_is_told_in_figures_and_words_but_seldom() -> None:
    cluster = await at(Stage.TRAIN)

    async def train(step: int) -> int | None:
        told = {"loss": 2.5 / step, "checkpoint": step // 10 * 10, "remaining_seconds": 600}
        cluster.tell(TrainStatus(phase=TrainPhase.TRAINING, done=step, total=200, **told))
        await cluster.settle()
        return cluster.status.progress.step if cluster.status.progress else None

    assert await train(10) == 10
    assert cluster.message("Trained") == "step 10 of 200, loss 0.25, about 10 min left"
    cluster.advance(9)
    assert await train(19) == 10, "no ten seconds have passed"
    cluster.advance(1)
    assert await train(20) == 20
    cluster.writes.clear()
    cluster.advance(60)
    assert await train(20) == 20
    assert cluster.writes == [], "nothing but the time has changed"
    progress = cluster.subject["status"]["progress"]
    assert progress.items() >= {"step": 20, "totalSteps": 200, "loss": 0.125, "lastCheckpoint": 20}.items()


async def test_the_fetch_of_the_base_model_has_its_progress_too() -> None:
    hub = {"repo": "a/b", "revision": "0d8b2a1", "cache": {"claimName": "models"}}
    cluster = FakeTraining(subject=fine_tune(model={"huggingFace": hub}))
    await cluster.settle()
    cluster.create_pods()
    cluster.start_fetching()
    progress = Progress(done_bytes=10**9, total_bytes=4 * 10**9, remaining_seconds=300)
    cluster.tell(RuntimeStatus(phase=Phase.FETCHING, progress=progress))
    await cluster.settle()
    assert cluster.status.state == "Fetching"
    assert cluster.status.progress is not None
    assert (cluster.status.progress.done, cluster.status.progress.total) == (10**9, 4 * 10**9)


async def test_nothing_is_written_while_nothing_changes_and_nothing_is_asked_when_all_is_done() -> None:
    cluster = await at(None)
    cluster.advance(3600)
    result = await cluster.pass_once()
    assert (cluster.writes, result.requeue_after) == ([], None)


async def test_jobs_that_are_done_go_when_their_time_is_over_and_the_result_stays() -> None:
    cluster = await at(None, ttlAfterFinished="1h")
    result = await cluster.pass_once()
    assert result.requeue_after is not None
    assert timedelta(minutes=59) < result.requeue_after < timedelta(hours=1)
    cluster.advance(3600)
    await cluster.settle()
    cluster.let_go()
    result = await cluster.settle()
    assert (cluster.jobs, cluster.pods, result.requeue_after) == ([], [], None)
    assert cluster.status.state == "Complete"
    assert cluster.status.result is not None
    assert cluster.condition("NetworkVerified") == ("True", "LinksVerified")


async def test_suspending_lets_the_pods_save_and_resuming_goes_on_with_a_new_attempt() -> None:
    cluster = await at(Stage.TRAIN)
    cluster.change(suspend=True)
    await cluster.settle()
    graces = {pod["metadata"]["deletionGracePeriodSeconds"] for pod in cluster.pods_of("car-train-1")}
    assert graces == {300}, "the whole time for a checkpoint"
    assert cluster.condition("Progressing") == ("True", "Stopping")
    cluster.let_go()
    await cluster.settle()
    assert cluster.pods == ["car-check-1-0-x6"]
    assert cluster.status.state == "Suspended"
    for condition in ("Ready", "Progressing", "Trained", "Scheduled", "NetworkVerified"):
        assert cluster.condition(condition) == ("False", "Suspended"), condition
    cluster.change(suspend=False)
    await cluster.settle()
    assert "car-train-2" in cluster.jobs
    assert cluster.status.last_failure is None
    await cluster.until(None)


async def test_resuming_waits_until_the_old_pods_have_saved() -> None:
    cluster = await at(Stage.TRAIN)
    cluster.change(suspend=True)
    await cluster.settle()
    cluster.change(suspend=False)
    cluster.advance(200)
    await cluster.settle()
    assert "car-train-2" not in cluster.jobs
    cluster.let_go()
    await cluster.settle()
    assert "car-train-2" in cluster.jobs


async def test_another_number_of_nodes_ends_the_attempt_and_the_next_one_has_it() -> None:
    cluster = await at(Stage.TRAIN)
    cluster.change(nodes=3)
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    cluster.run()
    await cluster.settle()
    assert len(cluster.pods_of("car-train-2")) == 3
    assert cluster.status.last_failure is None
    stage = cluster.status.stages[1]
    assert (stage.attempt, stage.failures) == (2, [])
    await cluster.until(None)


@pytest.mark.parametrize(
    "change",
    [{"after": {"quantize": "fp8"}}, {"restart": {"limit": 9}}, {"ttlAfterFinished": "1h"}],
    ids=["what comes after", "the restart policy", "how long Jobs are kept"],
)
async def test_a_training_is_left_alone_by_what_it_does_not_depend_on(change: Object) -> None:
    cluster = await at(Stage.TRAIN)
    cluster.change(**change)
    await cluster.settle()
    assert cluster.jobs == ["car-check-1", "car-train-1"]
    assert len(list(cluster.live_pods())) == 3


async def test_a_stage_that_is_asked_for_later_runs_then_and_nothing_else_again() -> None:
    cluster = await at(None)
    cluster.change(evaluation=EVALUATION)
    await cluster.until(None)
    assert cluster.jobs == ["car-check-1", "car-evaluate-1", "car-merge-1", "car-train-1"]
    assert cluster.status.evaluation is not None


async def test_a_configuration_stays_as_long_as_a_job_mounts_it() -> None:
    cluster = await at(Stage.TRAIN)
    cluster.change(after={"quantize": "fp8"})
    await cluster.settle()
    assert sum(kind == "ConfigMap" for kind, _ in cluster.objects) == 2


async def test_events_tell_each_step_once() -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(None)
    steps = [EventReason.ATTEMPT_STARTED, EventReason.STAGE_SUCCEEDED]
    assert [event.reason for event in cluster.events] == [*steps, *steps, *steps, EventReason.COMPLETE]
    assert REPORTS[Stage.TRAIN].message in cluster.events[3].note


async def test_what_is_written_can_be_read_back() -> None:
    cluster = await at(None, evaluation=EVALUATION)
    assert HunyuanFineTune.parse(cluster.subject).status == cluster.status


async def test_nothing_is_done_for_a_resource_that_is_being_deleted() -> None:
    cluster = FakeTraining(subject=fine_tune())
    cluster.subject["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    await cluster.pass_once()
    assert cluster.writes == []
