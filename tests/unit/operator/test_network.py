"""The preflight from the operator's side: which pods have it, and what NetworkVerified says of it."""

from typing import Any

import pytest
from hunyuan_operator.api.times import format_time

from hunyuan_runtime.config import CONFIG_PATH, NetworkConfig, Rank, ServeConfig
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from tests.unit.operator.fake_cluster import NETWORK, FakeCluster, Object, deployment

LEADER, WORKER = "tiny-g0-1-0", "tiny-g0-1-1"


async def begun(**spec: Any) -> FakeCluster:
    """Both pods have a node, and run their preflight."""
    cluster = FakeCluster(subject=deployment(**spec))
    await cluster.settle()
    cluster.start_pods()
    for pod in cluster.live_pods():
        pod["status"] |= {
            "initContainerStatuses": [{"name": "preflight", "state": {"running": {}}}],
            "containerStatuses": [{"name": "runtime", "state": {"waiting": {"reason": "PodInitializing"}}}],
        }
    await cluster.settle()
    return cluster


def end_preflight(cluster: FakeCluster, name: str, failure: RuntimeFailure) -> None:
    message = TerminationMessage.of(failure, rank=int(name[-1])).model_dump_json()
    finished = format_time(cluster.now)
    state = {"exitCode": failure.cause.exit_code, "message": message, "reason": "Error", "finishedAt": finished}
    status = cluster.pod(name)["status"]
    status["phase"] = "Failed"
    status["initContainerStatuses"] = [{"name": "preflight", "state": {"terminated": state}}]


async def test_it_is_unknown_while_the_preflight_runs() -> None:
    cluster = await begun()
    assert cluster.condition("NetworkVerified") == ("Unknown", "PreflightRunning")
    assert cluster.condition("RayReady") == ("False", "NotStarted")


async def test_it_is_true_with_the_numbers_when_the_leaders_has_ended_well() -> None:
    cluster = await begun()
    ended = {"exitCode": 0, "message": NETWORK.model_dump_json(), "finishedAt": format_time(cluster.now)}
    cluster.pod(LEADER)["status"]["initContainerStatuses"][0]["state"] = {"terminated": ended}
    await cluster.settle()
    assert cluster.condition("NetworkVerified") == ("True", "LinksVerified")
    told = cluster.message("NetworkVerified")
    assert all(part in told for part in ("eth0", "9.4 Gbit/s", "node-0 to node-1", "0.12 ms"))


@pytest.mark.parametrize("cause", [Cause.NetworkFailed, Cause.NetworkSlow, Cause.NetworkDeviceMissing])
async def test_a_failed_preflight_ends_the_attempt_and_names_its_node(cause: Cause) -> None:
    cluster = await begun()
    end_preflight(cluster, WORKER, RuntimeFailure(cause, "eth0 is broken", ranks=(1, 0)))
    await cluster.settle()
    failure = cluster.status.last_failure
    assert failure is not None
    assert (failure.pod, failure.container, failure.node) == (WORKER, "preflight", "node-1")
    assert (failure.reason, failure.exit_code, failure.retryable) == (cause.name, cause.exit_code, True)
    assert failure.log == f"last words of {WORKER}/preflight\n"
    assert cluster.condition("NetworkVerified") == ("False", cause.name)
    assert "eth0 is broken" in cluster.message("NetworkVerified")
    assert len(cluster.status.group_statuses[0].failures) == 1


async def test_nodes_that_the_pods_could_not_know_are_added() -> None:
    cluster = await begun()
    told = f"{WORKER} on node-1 (eth0) can't reach {LEADER} port 8002: timed out"
    end_preflight(cluster, WORKER, RuntimeFailure(Cause.NetworkFailed, told, ranks=(1, 0)))
    await cluster.settle()
    assert cluster.message("NetworkVerified") == f"group 0: {told} ({LEADER} is on node-0)"


async def test_who_gives_up_on_pods_that_never_ran_burns_no_restart() -> None:
    cluster = await begun()
    cluster.pod(WORKER)["status"]["initContainerStatuses"][0]["state"] = {"waiting": {"reason": "PodInitializing"}}
    end_preflight(cluster, LEADER, RuntimeFailure(Cause.RanksMissing, f"not begun: {WORKER}"))
    cluster.advance(60)
    await cluster.settle()
    assert cluster.status.last_failure is not None
    assert cluster.status.last_failure.reason == "RanksMissing"
    assert cluster.status.group_statuses[0].failures == []


async def test_the_next_attempt_checks_again_and_serves() -> None:
    cluster = await begun()
    end_preflight(cluster, WORKER, RuntimeFailure(Cause.NetworkSlow, "slow", ranks=(1, 0)))
    await cluster.settle()
    cluster.let_go()
    cluster.advance(60)
    await cluster.serve()
    assert cluster.condition("NetworkVerified") == ("True", "LinksVerified")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"network": {"preflight": {"enabled": False}}}, id="switched off"),
        pytest.param({"gpus": {"perNode": 2}}, id="one pod a group"),
    ],
)
async def test_without_preflight_there_is_neither_container_nor_condition(spec: Object) -> None:
    cluster = FakeCluster(subject=deployment(**spec))
    await cluster.serve()
    assert not any("initContainers" in cluster.pod(name)["spec"] for name in cluster.pods)
    assert cluster.condition("NetworkVerified") == ("", "")


async def test_a_group_from_before_the_preflight_is_not_called_verified() -> None:
    cluster = FakeCluster(subject=deployment())
    await cluster.serve()
    for pod in cluster.live_pods():
        del pod["spec"]["initContainers"], pod["status"]["initContainerStatuses"]
    await cluster.settle()
    assert cluster.condition("NetworkVerified") == ("Unknown", "NotVerified")
    assert cluster.condition("Ready")[0] == "True"


async def test_a_suspended_deployment_has_no_network_to_verify() -> None:
    cluster = FakeCluster(subject=deployment(suspend=True))
    await cluster.settle()
    assert cluster.condition("NetworkVerified") == ("False", "Suspended")


async def test_every_rank_is_told_the_same_of_the_network() -> None:
    network = {
        "interface": "net1",
        "rdma": {"resource": "rdma/hca", "count": 4},
        "preflight": {"minBandwidth": "25G", "maxLatencyMilliseconds": 5},
    }
    cluster = FakeCluster(subject=deployment(network=network))
    await cluster.settle()
    (config_map,) = [o for (kind, _), o in cluster.objects.items() if kind == "ConfigMap"]
    config = ServeConfig.model_validate_json(config_map["data"][CONFIG_PATH.name])
    assert config.network == NetworkConfig(
        interface="net1", rdma=True, min_bits_per_second=25_000_000_000, max_latency_ms=5
    )
    for index, name in enumerate(cluster.pods):
        spec = cluster.pod(name)["spec"]
        (runtime,), (preflight,) = spec["containers"], spec["initContainers"]
        env = {one["name"]: one.get("value", "x") for one in preflight["env"]}
        assert Rank.from_env(env).peers == ("tiny-g0-1-0.tiny-pods", "tiny-g0-1-1.tiny-pods")
        assert Rank.from_env(env).pod == name
        assert Rank.from_env(env).index == index
        assert preflight["resources"] == runtime["resources"]
        assert preflight["resources"]["limits"].items() >= {"nvidia.com/gpu": "1", "rdma/hca": "4"}.items()
        assert "model" not in {mount["name"] for mount in preflight["volumeMounts"]}
