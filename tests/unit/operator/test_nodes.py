"""On which nodes an attempt runs: again on those of the last, and on none that failed one, unless there is no other."""

from datetime import UTC, datetime, timedelta

import pytest
from hunyuan_operator.api.deployment import GroupStatus
from hunyuan_operator.api.reasons import EventReason
from hunyuan_operator.api.times import format_time
from hunyuan_operator.build.parts import Nodes, on_nodes
from hunyuan_operator.plan.nodes import MOST, NODE_FAULTS, avoiding
from hunyuan_operator.plan.restarts import begin

from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage
from tests.unit.operator.fake_api import FakeApi
from tests.unit.operator.fake_cluster import FakeCluster, Object
from tests.unit.operator.fake_training import FakeTraining, fine_tune

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LEADER, WORKER = "tiny-g0-1-0", "tiny-g0-1-1"
NO_NODE = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 Insufficient nvidia.com/gpu."


async def next_attempt(cluster: FakeApi) -> None:
    """Its pods are made; they have no node yet."""
    await cluster.settle()
    cluster.let_go()
    cluster.advance(60)
    await cluster.settle()


def nodes_of(pod: Object) -> tuple[list[str], list[str]]:
    """Which nodes a pod avoids, and which it prefers."""
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    avoided = [field for term in terms for field in term.get("matchFields", [])]
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    assert {field["operator"] for field in avoided} <= {"NotIn"}
    return (
        [name for field in avoided for name in field["values"]],
        [name for one in preferred for field in one["preference"]["matchFields"] for name in field["values"]],
    )


async def test_a_group_that_failed_by_itself_starts_again_where_its_weights_are_in_page_cache(
    cluster: FakeCluster,
) -> None:
    assert nodes_of(cluster.pod(WORKER)) == ([], []), "the first attempt goes anywhere"
    cluster.end(WORKER, Cause.WorkerDied)
    await next_attempt(cluster)
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]
    assert [nodes_of(cluster.pod(name)) for name in cluster.pods] == [([], ["node-0", "node-1"])] * 2


async def test_a_new_revision_starts_on_the_same_nodes_too(cluster: FakeCluster) -> None:
    cluster.change(maxModelLen=2048)
    await next_attempt(cluster)
    assert nodes_of(cluster.pod("tiny-g0-2-0")) == ([], ["node-0", "node-1"])


@pytest.mark.parametrize("reason", sorted(NODE_FAULTS - {"NodeLost"}))
async def test_a_node_that_is_at_fault_is_left_and_that_is_told(cluster: FakeCluster, reason: str) -> None:
    cluster.end(WORKER, Cause[reason], "it is the node", ranks=(1,) if reason == "RankUnreachable" else ())
    at_one = format_time(cluster.now + timedelta(hours=1))
    await next_attempt(cluster)
    assert [nodes_of(cluster.pod(name)) for name in cluster.pods] == [(["node-1"], ["node-0"])] * 2
    assert cluster.subject["status"]["groupStatuses"][0]["avoidNodes"] == [
        {"name": "node-1", "reason": reason, "until": at_one}
    ]
    (told,) = [event for event in cluster.events if event.reason is EventReason.NODE_AVOIDED]
    assert told.note == f"group 0: node node-1 is avoided until {at_one}: {reason}"


async def test_a_lost_node_is_left(cluster: FakeCluster) -> None:
    told = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": ""}
    moment = {"lastTransitionTime": format_time(cluster.now)}
    cluster.pod(WORKER)["status"]["conditions"].append(told | moment)
    cluster.remove(("Pod", WORKER))
    await next_attempt(cluster)
    assert nodes_of(cluster.pod("tiny-g0-2-0")) == (["node-1"], ["node-0"])


async def test_so_is_a_node_whose_pod_outlives_its_deletion_whatever_was_told_before(cluster: FakeCluster) -> None:
    cluster.end(LEADER, Cause.RayFailed)
    await cluster.settle()
    cluster.evaporate(LEADER)
    cluster.advance(61)
    await cluster.settle()
    assert cluster.pods == [WORKER, "tiny-g0-2-0", "tiny-g0-2-1"]
    assert nodes_of(cluster.pod("tiny-g0-2-0")) == (["node-1"], ["node-0"])


async def test_a_pod_that_kubernetes_removes_by_force_is_waited_for_no_longer(cluster: FakeCluster) -> None:
    """As it does with the taint node.kubernetes.io/out-of-service."""
    told = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": ""}
    moment = {"lastTransitionTime": format_time(cluster.now)}
    cluster.pod(WORKER)["status"]["conditions"].append(told | moment)
    cluster.remove(("Pod", WORKER))
    await cluster.settle()
    cluster.evaporate(LEADER)
    cluster.advance(10)
    await cluster.settle()
    assert cluster.pods == [WORKER], "it may still run"
    cluster.evaporate(WORKER)
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]
    assert nodes_of(cluster.pod("tiny-g0-2-0")) == (["node-1"], ["node-0"])


async def test_a_node_is_forgiven_after_an_hour(cluster: FakeCluster) -> None:
    cluster.end(WORKER, Cause.GpuFault)
    await cluster.settle()
    cluster.let_go()
    cluster.advance(3600)
    await cluster.settle()
    assert nodes_of(cluster.pod("tiny-g0-2-0")) == ([], ["node-0", "node-1"])


async def test_pods_that_find_no_other_node_say_what_they_avoid_and_then_avoid_it_no_more(
    cluster: FakeCluster,
) -> None:
    cluster.end(WORKER, Cause.GpuFault)
    await next_attempt(cluster)
    cluster.trouble("tiny-g0-2-1", NO_NODE)
    result = await cluster.settle()
    (avoided,) = cluster.status.group_statuses[0].avoid_nodes
    allowed = format_time(cluster.now + timedelta(minutes=2))
    assert cluster.condition("Degraded") == ("True", "Unschedulable")
    assert cluster.message("Degraded") == (
        f"group 0: pod tiny-g0-2-1: {NO_NODE}; avoided: node-1 (until {avoided.until}: GpuFault), "
        f"or until {allowed} if there is no other way"
    )
    assert result.requeue_after == timedelta(minutes=2)
    cluster.advance(120)
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-3-0", "tiny-g0-3-1"]
    assert nodes_of(cluster.pod("tiny-g0-3-0")) == ([], ["node-0"])
    assert len(cluster.status.group_statuses[0].failures) == 1, "no restart is burnt"
    await cluster.serve()


async def test_pods_that_have_nodes_are_not_disturbed(cluster: FakeCluster) -> None:
    cluster.end(WORKER, Cause.GpuFault)
    await next_attempt(cluster)
    cluster.start_pods()
    cluster.advance(600)
    await cluster.settle()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]


def test_the_list_is_short_and_names_each_node_once() -> None:
    memory = GroupStatus(index=0, attempt=1)
    for number in [*range(MOST + 2), 5]:
        memory = avoiding(memory, [f"node-{number}"], "GpuFault", NOON + timedelta(minutes=number))
    assert [one.name for one in memory.avoid_nodes] == [f"node-{n}" for n in (2, 3, 4, 6, 7, 8, 9, 5)]


def test_a_memory_of_nodes_outlives_an_attempt_that_never_had_one() -> None:
    ran = GroupStatus(index=0, attempt=1, nodes=["a", "b"])
    waited = begin(avoiding(ran, ["b"], "GpuFault", NOON), "r", NOON)
    assert begin(waited, "r", NOON).prefer_nodes == ["a"]
    assert [one.name for one in begin(waited, "s", NOON).avoid_nodes] == ["b"], "another revision, the same node"


def test_products_and_nodes_go_into_one_affinity() -> None:
    products = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["H100"]}
    avoided = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in ("b", "c")]
    preferred = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
    assert on_nodes(["H100"], Nodes(avoid=("b", "c"), prefer=("a",))) == {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [products], "matchFields": avoided}]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": preferred}],
        }
    }
    assert on_nodes([], Nodes()) == {}


@pytest.mark.parametrize(
    ("cause", "nodes"),
    [(Cause.WorkerDied, ([], ["node-1", "node-2"])), (Cause.GpuFault, (["node-2"], ["node-1"]))],
    ids=["its own fault", "the node's"],
)
async def test_a_training_does_the_same(cause: Cause, nodes: tuple[list[str], list[str]]) -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(Stage.TRAIN)
    cluster.fail("car-train-1", 1, cause)
    await next_attempt(cluster)
    cluster.create_pods()
    assert [nodes_of(pod) for pod in cluster.pods_of("car-train-2")] == [nodes] * 2


async def test_a_training_that_finds_no_other_node_takes_any() -> None:
    cluster = FakeTraining(subject=fine_tune())
    await cluster.until(Stage.TRAIN)
    cluster.fail("car-train-1", 1, Cause.GpuFault)
    await next_attempt(cluster)
    cluster.create_pods()
    for pod in cluster.pods_of("car-train-2"):
        cluster.trouble(pod["metadata"]["name"], NO_NODE)
    await cluster.settle()
    assert "avoided: node-2" in cluster.message("Degraded")
    cluster.advance(120)
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    assert cluster.jobs == ["car-check-1", "car-train-3"]
    cluster.create_pods()
    assert nodes_of(cluster.pods_of("car-train-3")[0]) == ([], ["node-1"])
