"""Which of the engine's dead ranks is to blame: only one that Ray didn't end itself."""

from typing import Any

import pytest
from ray.core.generated.common_pb2 import ActorDeathCause, ActorDiedErrorContext
from ray.exceptions import RayTaskError

from hunyuan_runtime.serve import driver
from hunyuan_runtime.serve.reports import Report
from hunyuan_runtime.termination import Cause, RuntimeFailure

WORKER_DIED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR. "
    "Some common causes include: (1) the process was killed by the OOM killer"
)


def dead(class_name: str, reason: Any, node: str = "node-b") -> dict[str, Any]:
    context = ActorDiedErrorContext(reason=reason, error_message=WORKER_DIED)
    return {
        "ActorClassName": class_name,
        "DeathCause": ActorDeathCause(actor_died_error_context=context),
        "Address": {"NodeID": node},
        "Pid": 7,
    }


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Any:
    nodes: list[dict[str, Any]] = [
        {"NodeID": "node-a", "Resources": {"hunyuan-rank-0": 1.0}},
        {"NodeID": "node-b", "Resources": {"hunyuan-rank-1": 1.0, "GPU": 8.0}},
    ]
    for number, node in enumerate(nodes):
        node |= {"Alive": True, "NodeManagerAddress": f"10.0.0.{number}"}
    monkeypatch.setattr("ray.nodes", lambda: nodes)

    def die(*actors: dict[str, Any]) -> None:
        monkeypatch.setattr(driver, "actors", lambda **_: dict(enumerate(actors)))

    return die


@pytest.mark.parametrize("reason", [ActorDiedErrorContext.WORKER_DIED, ActorDiedErrorContext.NODE_DIED])
def test_a_rank_that_died_by_itself_is_named_without_rays_advice(die: Any, reason: Any) -> None:
    die(dead("RayWorkerProc", ActorDiedErrorContext.RAY_KILL, "node-a"), dead("RayWorkerProc", reason))
    with pytest.raises(driver.RankDiedError) as died:
        driver.raise_dead_rank()
    assert died.value.report == Report(
        event="rank-died",
        ranks=[1],
        pid=7,
        message="The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR.",
    )


@pytest.mark.parametrize(
    ("class_name", "reason"),
    [
        ("RayWorkerProc", ActorDiedErrorContext.RAY_KILL),
        ("RayWorkerProc", ActorDiedErrorContext.OWNER_DIED),
        ("RayWorkerProc", ActorDiedErrorContext.OUT_OF_SCOPE),
        ("ServeReplica:hunyuan:Engine", ActorDiedErrorContext.WORKER_DIED),
    ],
)
def test_a_rank_that_was_ended_and_any_other_actor_is_not_to_blame(die: Any, class_name: str, reason: Any) -> None:
    die(dead(class_name, reason))
    driver.raise_dead_rank()


def test_a_failure_of_the_replica_keeps_its_cause_through_ray() -> None:
    failure = RuntimeFailure(Cause.ConfigInvalid, "unrecognized arguments: --x")
    wrapped = RayTaskError("load", "traceback", failure).as_instanceof_cause()
    assert driver._root_of(wrapped) is failure


def test_any_other_failure_of_the_replica_is_the_engines() -> None:
    wrapped = RayTaskError("load", "traceback", MemoryError("no room")).as_instanceof_cause()
    root = driver._root_of(wrapped)
    assert root.cause is Cause.EngineFailed
    assert "no room" in str(root)


def test_the_replica_is_held_on_the_leaders_node_and_every_gpu_gets_a_bundle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: dict[str, Any] = {}
    options: dict[str, Any] = {}

    class Deployment:
        @staticmethod
        def options(**given: Any) -> Any:
            options.update(given)
            return Deployment

        @staticmethod
        def bind() -> str:
            return "app"

    monkeypatch.setattr(driver, "Engine", Deployment)
    monkeypatch.setattr("ray.serve.start", lambda **given: started.update(given))
    monkeypatch.setattr("ray.serve.run", lambda app, **given: (app, given))
    config: Any = type("Config", (), {"world_size": 4})
    assert driver.start_serve(config) == ("app", {"name": "hunyuan", "route_prefix": None})
    assert started == {"proxy_location": "Disabled"}, "the replica opens the port itself"
    first, *others = options["placement_group_bundles"]
    assert [bundle["GPU"] for bundle in (first, *others)] == [1, 1, 1, 1]
    assert "node:__internal_head__" in first
    assert not any("node:__internal_head__" in bundle for bundle in others)
    assert options["ray_actor_options"]["num_gpus"] == 0, "they are the ranks'"
    config.world_size = 1
    driver.start_serve(config)
    assert [bundle["GPU"] for bundle in options["placement_group_bundles"]] == [1]
    assert options["ray_actor_options"]["num_gpus"] == 1, "the only rank is the replica's child"


def test_every_rank_has_an_address(die: Any) -> None:
    assert driver.addresses() == {0: "10.0.0.0", 1: "10.0.0.1"}


class PlayedReplica:
    """Its drain takes ``left`` looks."""

    def __init__(self, left: int) -> None:
        self.left, self.asked = left, 0
        self.drain = self

    def remote(self) -> "PlayedReplica":
        self.asked += 1
        return self

    def result(self, timeout_s: float) -> None:
        self.left -= 1
        if self.left >= 0:
            raise TimeoutError


def test_a_drain_is_asked_for_once_and_told_once_when_the_last_request_is_out() -> None:
    told: list[Report] = []
    replica: Any = PlayedReplica(left=2)
    writer: Any = type("Writer", (), {"write": lambda _, report: told.append(report)})()
    drain = driver.Drain(replica, writer)
    drain.proceed()
    assert replica.asked == 0
    drain.ask()
    drain.proceed()
    drain.proceed()
    assert told == []
    for _ in range(3):
        drain.proceed()
    assert told == [Report(event="drained")]
    assert replica.asked == 1
