"""A deployment's life, from nothing to serving and through every change of its spec."""

from typing import Any

import pytest
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.reasons import EventReason
from hunyuan_operator.plan.serving import plan_serving

from hunyuan_runtime.config import Phase
from tests.unit.operator.fake_cluster import FakeCluster, deployment

MILESTONES = ("Scheduled", "RayReady", "ModelLoaded", "Serving")


async def ready(**spec: Any) -> FakeCluster:
    cluster = FakeCluster(subject=deployment(**spec))
    await cluster.serve()
    cluster.writes.clear()
    cluster.events.clear()
    return cluster


async def test_its_objects_are_made_before_its_pods_and_the_attempt_is_remembered_before_all() -> None:
    cluster = FakeCluster(subject=deployment())
    await cluster.pass_once()
    kinds = [write.split()[:2] for write in cluster.writes]
    assert kinds[0] == ["status", "HunyuanDeployment"]
    assert {kind for _, kind in kinds[1:6]} == {"ServiceAccount", "ConfigMap", "Service", "Secret"}
    assert cluster.writes[6:8] == ["create Pod tiny-g0-1-0", "create Pod tiny-g0-1-1"]
    assert cluster.status.group_statuses[0].attempt == 1


async def test_conditions_follow_the_group_on_its_way_to_serving() -> None:
    cluster = FakeCluster(subject=deployment())
    seen = []

    async def look() -> str:
        await cluster.settle()
        seen.append("".join({"True": "T", "False": "f", "Unknown": "?"}[cluster.condition(m)[0]] for m in MILESTONES))
        return cluster.status.group_statuses[0].state

    assert await look() == "Pending"
    cluster.start_pods()
    assert await look() == "Starting"
    cluster.tell(Phase.STARTING, joined=1)
    assert await look() == "Starting"
    assert "1 of 2 pods have joined" in cluster.message("RayReady")
    cluster.tell(Phase.JOINED, joined=2)
    assert await look() == "Joined"
    cluster.tell(Phase.LOADING, "shard 2 of 7", joined=2)
    assert await look() == "Loading"
    assert "shard 2 of 7" in cluster.message("ModelLoaded")
    cluster.tell(Phase.SERVING, joined=2)
    assert await look() == "Serving"
    assert cluster.condition("Ready") == ("False", "GroupsNotReady")
    cluster.make_ready()
    assert await look() == "Serving"
    assert seen == ["ffff", "T??f", "Tfff", "TTff", "TTff", "TTTf", "TTTT"]
    assert cluster.condition("Ready") == ("True", "AllGroupsReady")


async def test_a_ready_deployment_says_where_it_answers_and_how_it_is_laid_out() -> None:
    status = (await ready()).subject["status"]
    assert status["url"] == "http://tiny.demo.svc:8000/v1"
    assert status["plan"].items() >= {"nodes": 2, "tensorParallel": 2, "pipelineParallel": 1}.items()
    assert status["plan"]["maxConcurrency"] > 1
    assert status["selector"] == "hunyuan.dev/deployment=tiny,hunyuan.dev/role=leader"
    assert (status["groups"], status["readyGroups"]) == (1, 1)
    assert status["groupStatuses"][0]["nodes"] == ["node-0", "node-1"]
    assert "lastFailure" not in status


async def test_an_operator_that_would_lay_it_out_in_another_way_leaves_a_running_group_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = await ready()
    other = plan_serving(HunyuanDeployment.parse(deployment(parallelism={"tensor": 4})).spec)
    monkeypatch.setattr("hunyuan_operator.plan.deployment.plan_serving", lambda spec: other)
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-1-0", "tiny-g0-1-1"]
    assert cluster.condition("Ready")[0] == "True"
    assert not [write for write in cluster.writes if " Pod " in write]


async def test_nothing_is_written_while_nothing_changes() -> None:
    cluster = await ready()
    cluster.advance(3600)
    result = await cluster.pass_once()
    assert cluster.writes == []
    assert result.requeue_after is None


async def test_a_condition_keeps_its_time_of_transition_until_its_status_changes() -> None:
    cluster = FakeCluster(subject=deployment())
    await cluster.settle()
    times = {c.type: c.last_transition_time for c in cluster.status.conditions}
    cluster.advance(60)
    cluster.start_pods()
    await cluster.settle()
    after = {c.type: c.last_transition_time for c in cluster.status.conditions}
    changed = {kind for kind, time in after.items() if time != times.get(kind)}
    assert changed == {"Scheduled", "NetworkVerified", "RayReady", "ModelLoaded"}


async def test_a_leader_on_its_way_is_asked_every_few_seconds_and_a_ready_one_no_more() -> None:
    cluster = FakeCluster(subject=deployment())
    await cluster.settle()
    cluster.start_pods()
    assert (await cluster.settle()).requeue_after is not None
    cluster.make_ready()
    assert (await cluster.settle()).requeue_after is None


async def test_kstatus_conditions_are_present_only_while_true() -> None:
    cluster = FakeCluster(subject=deployment())
    await cluster.settle()
    assert cluster.condition("Reconciling") == ("True", "Starting")
    await cluster.serve()
    lasting = {"Ready", "Progressing", "Degraded", "NetworkVerified", *MILESTONES}
    assert {c.type for c in cluster.status.conditions} == lasting


async def test_scaling_up_adds_groups_and_leaves_the_running_one_alone() -> None:
    cluster = await ready()
    cluster.change(groups=2)
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-1-0", "tiny-g0-1-1", "tiny-g1-1-0", "tiny-g1-1-1"]
    assert cluster.condition("Ready") == ("False", "GroupsNotReady")
    await cluster.serve()
    assert (cluster.status.groups, cluster.status.ready_groups) == (2, 2)


async def test_scaling_down_removes_the_highest_group_and_is_never_a_failure() -> None:
    cluster = await ready(groups=3)
    cluster.change(groups=1)
    await cluster.settle()
    assert cluster.condition("Progressing") == ("True", "Stopping")
    cluster.let_go()
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-1-0", "tiny-g0-1-1"]
    assert (cluster.status.groups, cluster.condition("Ready")[0]) == (1, "True")
    assert cluster.status.last_failure is None
    assert [event.reason for event in cluster.events] == [EventReason.SCALED]


async def test_a_group_that_is_scaled_away_and_back_waits_for_its_old_pods_and_takes_other_names() -> None:
    cluster = await ready(groups=2)
    cluster.change(groups=1)
    await cluster.settle()
    cluster.change(groups=2)
    await cluster.settle()
    assert "tiny-g1-2-0" not in cluster.pods
    cluster.let_go()
    await cluster.settle()
    assert {"tiny-g1-2-0", "tiny-g1-2-1"} <= set(cluster.pods)


@pytest.mark.parametrize(
    ("change", "reason"), [({"suspend": True}, "Suspended"), ({"groups": 0}, "ScaledToZero")], ids=["suspend", "zero"]
)
async def test_without_groups_only_the_pods_go(change: dict[str, object], reason: str) -> None:
    cluster = await ready()
    shared = {name for name in cluster.objects if name[0] != "Pod"}
    cluster.change(**change)
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    assert set(cluster.objects) == shared
    assert cluster.condition("Ready") == ("False", reason)
    assert cluster.condition("Progressing") == ("False", reason)
    cluster.change(suspend=False, groups=1)
    await cluster.serve()


async def test_a_new_revision_replaces_ready_groups_one_at_a_time() -> None:
    cluster = await ready(groups=2)
    cluster.change(maxModelLen=2048)
    lowest = 2
    for _ in range(6):
        await cluster.settle()
        lowest = min(lowest, cluster.status.ready_groups)
        cluster.let_go()
        cluster.start_pods()
        cluster.make_ready()
    assert lowest == 1
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1", "tiny-g1-2-0", "tiny-g1-2-1"]
    assert len({group.revision for group in cluster.status.group_statuses}) == 1
    assert cluster.status.last_failure is None


async def test_a_new_revision_that_cannot_start_costs_one_group_only() -> None:
    cluster = await ready(groups=2)
    cluster.change(runtime={"image": "registry.example/serve:broken"})
    for _ in range(5):
        await cluster.settle()
        cluster.let_go()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1", "tiny-g1-1-0", "tiny-g1-1-1"]
    assert cluster.status.ready_groups == 1
    assert cluster.condition("Progressing") == ("True", "RollingOut")


@pytest.mark.parametrize(
    "change",
    [{"restart": {"limit": 9}}, {"quantization": "bf16"}, {"maxModelLen": 10240}],
    ids=["the restart policy", "a field set to its default", "another one"],
)
async def test_a_change_that_pods_do_not_depend_on_restarts_nothing(change: dict[str, object]) -> None:
    cluster = await ready()
    cluster.change(**change)
    await cluster.settle()
    assert cluster.writes == ["status HunyuanDeployment tiny"]
    assert cluster.condition("Ready")[0] == "True"
    assert cluster.status.observed_generation == 2


async def test_a_configuration_is_kept_while_a_pod_mounts_it_and_no_longer() -> None:
    cluster = await ready(groups=2)

    def configs() -> int:
        return sum(kind == "ConfigMap" for kind, _ in cluster.objects)

    cluster.change(maxModelLen=2048)
    await cluster.settle()
    assert configs() == 2
    for _ in range(6):
        cluster.let_go()
        await cluster.settle()
        cluster.start_pods()
        cluster.make_ready()
    await cluster.settle()
    assert configs() == 1


async def test_an_object_that_was_deleted_or_differs_is_put_right() -> None:
    cluster = await ready()
    del cluster.objects["Service", "tiny"]
    cluster.objects["Service", "tiny-pods"]["metadata"]["annotations"] = {}
    await cluster.settle()
    assert sorted(cluster.writes) == ["apply Service tiny-pods", "create Service tiny"]


async def test_nothing_is_done_for_a_resource_that_is_being_deleted_or_gone() -> None:
    cluster = FakeCluster(subject=deployment())
    cluster.subject["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    await cluster.pass_once()
    assert cluster.writes == []


async def test_what_is_written_can_be_read_back() -> None:
    cluster = await ready()
    assert HunyuanDeployment.parse(cluster.subject).status == cluster.status
