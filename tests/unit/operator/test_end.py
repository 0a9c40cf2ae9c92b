"""How a pod's own JSON tells its end."""

from typing import Any

import pytest
from hunyuan_operator.observe.end import end_of

from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage

TOLD = TerminationMessage.of(RuntimeFailure(Cause.ModelNotFound, "no folder /models/x"), rank=0).model_dump_json()


def pod(*containers: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-24T11:00:00Z"},
        "status": {"containerStatuses": list(containers), **status},
    }


def exited(code: int, reason: str = "Error", message: str = "", at: str = "12:00:00") -> dict[str, Any]:
    terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": f"2026-11-24T{at}Z"}
    return {"name": "runtime", "state": {"terminated": terminated}, "started": False}


def deleted(manifest: dict[str, Any], deadline: str) -> dict[str, Any]:
    manifest["metadata"] |= {"deletionTimestamp": f"2026-11-24T{deadline}Z", "deletionGracePeriodSeconds": 30}
    return manifest


def disrupted(reason: str, at: str = "12:00:00") -> dict[str, Any]:
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": "told so",
        "lastTransitionTime": f"2026-11-24T{at}Z",
    }


@pytest.mark.parametrize(
    ("container", "reason", "retryable", "words"),
    [
        pytest.param(exited(65, message=TOLD), "ModelNotFound", False, "/models/x", id="the runtime's own word"),
        pytest.param(exited(75), "WorkerDied", True, "code 75", id="its exit code alone"),
        pytest.param(exited(66), "CheckpointInvalid", False, "code 66", id="which knows what can't be retried"),
        pytest.param(exited(137, "OOMKilled"), "OOMKilled", True, "memory", id="the kubelet's word on memory"),
        pytest.param(exited(137, "OOMKilled", TOLD), "OOMKilled", True, "memory", id="which beats the runtime's"),
        pytest.param(exited(137), "Signalled", True, "SIGKILL", id="a signal"),
        pytest.param(exited(1, message="Traceback ..."), "Exited", True, "code 1", id="a log's tail is no word"),
        pytest.param(exited(0, "Completed"), "Exited", True, "code 0", id="a server that just ends"),
        pytest.param(
            exited(128, "StartError", "no such file"), "StartError", True, "no such file", id="it never started"
        ),
    ],
)
def test_a_container_that_ended_tells_why(container: dict[str, Any], reason: str, retryable: bool, words: str) -> None:
    end = end_of(pod(container))
    assert end is not None
    assert (end.reason, end.retryable, end.container) == (reason, retryable, "runtime")
    assert end.exit_code == container["state"]["terminated"]["exitCode"]
    assert words in end.message


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("PreemptionByScheduler", "Preempted"),
        ("DeletionByTaintManager", "NodeLost"),
        ("EvictionByEvictionAPI", "Evicted"),
        ("TerminationByKubelet", "Evicted"),
        ("SomethingNew", "Evicted"),
    ],
)
def test_a_disruption_is_the_cause_of_the_exit_that_follows(told: str, reason: str) -> None:
    end = end_of(pod(exited(143, at="12:00:05"), conditions=[disrupted(told)]))
    assert end is not None
    assert (end.reason, end.message, end.exit_code) == (reason, "told so", None)


def test_who_was_told_to_end_in_a_pod_that_goes_ended_by_that_though_its_deletion_bears_a_later_time() -> None:
    """Kubernetes sets the time anew for a pod with a finalizer, once its containers have ended."""
    going = pod(exited(143, at="12:00:20"))
    going["metadata"] |= {"deletionTimestamp": "2026-11-24T12:00:21Z", "deletionGracePeriodSeconds": 0}
    end = end_of(going)
    assert end is not None
    assert (end.reason, end.time.second) == ("PodDeleted", 20)
    alone = end_of(pod(exited(143, at="12:00:20")))
    assert alone is not None
    assert alone.reason == "Signalled"


def test_a_deletion_is_the_cause_of_the_exit_that_follows_and_not_of_one_before() -> None:
    asked_at_noon = "12:00:30"
    follows = end_of(deleted(pod(exited(143, at="12:00:10")), asked_at_noon))
    before = end_of(deleted(pod(exited(75, at="11:59:59")), asked_at_noon))
    assert follows is not None
    assert before is not None
    assert (follows.reason, before.reason) == ("PodDeleted", "WorkerDied")


def test_a_pod_that_its_node_never_admitted_has_failed() -> None:
    end = end_of(
        pod(phase="Failed", reason="UnexpectedAdmissionError", message="no device", startTime="2026-11-24T12:00:00Z")
    )
    assert end is not None
    assert (end.reason, end.message) == ("Exited", "no device")


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(pod(phase="Pending"), id="pending"),
        pytest.param(pod({"name": "runtime", "state": {"running": {}}}, phase="Running"), id="running"),
        pytest.param(pod({"name": "runtime", "state": {"waiting": {"reason": "ErrImagePull"}}}), id="waiting"),
        pytest.param(
            pod(phase="Pending") | {"status": {"initContainerStatuses": [{**exited(0, "Completed"), "name": "init"}]}},
            id="an init container that did its work",
        ),
    ],
)
def test_a_pod_that_can_still_work_has_not_ended(manifest: dict[str, Any]) -> None:
    assert end_of(manifest) is None
