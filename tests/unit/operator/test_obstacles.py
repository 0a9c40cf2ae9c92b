"""What keeps pods from running without being a failure of theirs: each says its reason and burns no restart."""

from typing import Any

import pytest
from hunyuan_operator.api.reasons import EventReason, Reason
from hunyuan_operator.errors import Conflict, Refused, Unavailable
from hunyuan_operator.observe.manifest import Manifest

from tests.unit.operator.fake_cluster import FakeCluster, Object, deployment

LEADER = "tiny-g0-1-0"


async def created(**spec: Any) -> FakeCluster:
    cluster = FakeCluster(subject=deployment(**spec))
    await cluster.settle()
    cluster.events.clear()
    return cluster


async def test_a_pod_without_a_node_stays_pending_and_says_why() -> None:
    cluster = await created(gpus={"perNode": 16}, parallelism={"tensor": 16})
    cluster.trouble(LEADER, "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    await cluster.settle()
    for condition, status in (("Scheduled", "False"), ("Degraded", "True"), ("Ready", "False")):
        assert cluster.condition(condition) == (status, "Unschedulable")
        assert "Insufficient nvidia.com/gpu" in cluster.message(condition)
    assert cluster.pods == [LEADER]
    assert "lastFailure" not in cluster.subject["status"]


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ({"reason": "ErrImagePull", "message": "no such host\nattempt 3"}, "ImagePullFailed"),
        ({"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}, "ContainerConfigError"),
    ],
)
async def test_a_container_that_cannot_be_made_says_why_and_waits(waiting: Object, reason: str) -> None:
    cluster = await created()
    cluster.start_pods()
    cluster.pod(LEADER)["status"]["containerStatuses"] = [
        {"name": "runtime", "image": "registry.example/serve:1", "state": {"waiting": waiting}}
    ]
    await cluster.settle()
    assert cluster.condition("Degraded") == ("True", reason)
    assert waiting["message"].partition("\n")[0] in cluster.message("Degraded")
    assert cluster.condition("Scheduled")[0] == "True"
    assert cluster.status.group_statuses[0].failures == []


@pytest.mark.parametrize(
    ("reason", "stalls"),
    [
        (Reason.QUOTA_EXCEEDED, False),
        (Reason.FORBIDDEN, True),
        (Reason.ADMISSION_REFUSED, True),
        (Reason.POD_INVALID, True),
    ],
)
async def test_a_refused_pod_is_told_once_and_asked_for_again(reason: Reason, stalls: bool) -> None:
    def refuse(verb: str, manifest: Manifest) -> Exception | None:
        return Refused(reason, "exceeded quota: gpus") if manifest["kind"] == "Pod" else None

    cluster = FakeCluster(subject=deployment(), refuse=refuse)
    await cluster.settle()
    assert cluster.condition("Degraded") == ("True", reason)
    assert cluster.condition("Stalled") == (("True", reason) if stalls else ("", ""))
    assert next(event.reason for event in cluster.events if event.type == "Warning") is EventReason.REFUSED
    group = cluster.status.group_statuses[0]
    assert (group.attempt, group.failures) == (1, []), "no restart is burnt"
    cluster.writes.clear()
    cluster.events.clear()
    assert (await cluster.pass_once()).requeue_after is not None
    assert (cluster.writes, cluster.events) == ([], [])
    cluster.refuse = lambda verb, manifest: None
    await cluster.serve()
    assert cluster.condition("Degraded") == ("False", "NoFailure")


async def test_a_refusal_does_not_keep_pods_from_being_deleted() -> None:
    cluster = FakeCluster(subject=deployment(groups=2))
    await cluster.serve()
    del cluster.objects["Service", "tiny"]
    cluster.refuse = lambda verb, m: Refused(Reason.QUOTA_EXCEEDED, "services") if m["kind"] == "Service" else None
    cluster.end("tiny-g1-1-1", 1)
    await cluster.settle()
    assert {pod["metadata"]["name"] for pod in cluster.live_pods()} == {"tiny-g0-1-0", "tiny-g0-1-1"}


@pytest.mark.parametrize("labelled", [False, True], ids=["anyone's", "an earlier deployment's of the same name"])
@pytest.mark.parametrize("kind", ["Service", "Pod"])
async def test_an_object_of_someone_else_is_never_touched(kind: str, labelled: bool) -> None:
    name = {"Service": "tiny", "Pod": LEADER}[kind]
    metadata: Object = {"name": name, "namespace": "demo", "uid": "theirs", "labels": {}, "ownerReferences": []}
    if labelled:
        metadata["labels"] = {"hunyuan.dev/deployment": "tiny"}
        metadata["ownerReferences"] = [{"uid": "earlier", "controller": True}]
    theirs: Object = {"kind": kind, "metadata": metadata}
    cluster = FakeCluster(subject=deployment(), objects={(kind, name): theirs})
    await cluster.settle()
    assert cluster.objects[kind, name] is theirs
    assert cluster.condition("Degraded") == ("True", "NameConflict")
    assert f"{kind} {name}" in cluster.message("Degraded")
    assert cluster.condition("Stalled") == ("", ""), "the name may be given back"
    del cluster.objects[kind, name]
    await cluster.serve()


async def test_ranks_that_cannot_be_laid_out_are_refused_before_anything_exists() -> None:
    cluster = await created(gpus={"perNode": 8}, parallelism={"tensor": 4, "pipeline": 3})
    assert cluster.objects == {}
    assert cluster.condition("Stalled") == ("True", "InvalidTopology")
    assert "set spec.gpus.perNode to 6" in cluster.message("Stalled")
    cluster.change(gpus={"perNode": 6})
    await cluster.serve()


async def test_a_model_that_does_not_fit_is_refused_before_anything_exists() -> None:
    large = {"pvc": {"claimName": "models"}}
    cluster = FakeCluster(subject=deployment(model=large, gpus={"perNode": 8}, parallelism={"tensor": 8}))
    await cluster.settle()
    assert cluster.objects == {}
    for condition, status in (("Ready", "False"), ("Progressing", "False"), ("Degraded", "True"), ("Stalled", "True")):
        assert cluster.condition(condition) == (status, "DoesNotFit")
        assert "weights take 97.2 GB" in cluster.message(condition)
        assert "Smallest change that fits: spec.parallelism {tensor: 8, pipeline: 2}" in cluster.message(condition)
    assert [event.reason for event in cluster.events] == [EventReason.REFUSED, EventReason.STALLED]
    assert "plan" not in cluster.subject["status"]
    cluster.change(parallelism={"tensor": 8, "pipeline": 2})
    await cluster.serve()


async def test_a_change_to_an_impossible_layout_leaves_running_groups_alone() -> None:
    cluster = await created()
    await cluster.serve()
    before = set(cluster.objects)
    cluster.change(gpus={"perNode": 8}, parallelism={"tensor": 4, "pipeline": 3})
    await cluster.settle()
    assert set(cluster.objects) == before
    assert cluster.condition("Stalled") == ("True", "InvalidTopology")
    assert cluster.status.ready_groups == 1


async def test_an_object_that_cannot_be_understood_is_told_and_its_groups_run_on() -> None:
    cluster = await created()
    await cluster.serve()
    before = set(cluster.objects)
    cluster.change(restart={"window": "soon"})
    await cluster.settle()
    assert set(cluster.objects) == before
    assert cluster.condition("Stalled") == ("True", "InvalidSpec")
    assert "spec.restart.window" in cluster.message("Stalled")
    assert cluster.condition("Ready")[0] == "True"
    assert cluster.status.ready_groups == 1


@pytest.mark.parametrize("error", [Unavailable("throttled"), Conflict("old picture")], ids=["unavailable", "conflict"])
async def test_what_may_pass_by_itself_is_left_to_the_queue(error: Exception) -> None:
    cluster = FakeCluster(subject=deployment(), refuse=lambda verb, manifest: error if verb == "status" else None)
    with pytest.raises(type(error)):
        await cluster.pass_once()
