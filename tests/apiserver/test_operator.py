"""The operator against a real API server, with the chart's rights and no more: what it writes, and what it doesn't."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import cluster as testbed
from tests import stack
from tests.apiserver.operator_process import OperatorProcess, Rights, install, rights_of, running

pytestmark = pytest.mark.apiserver

QUIET = 6.0
"""Seconds without a write that count as quiet; a group on its way is asked for its state every three."""


def tiny(**spec: Any) -> dict[str, Any]:
    """The example, on a GPU that no node has: its pods stay pending, wherever this runs."""
    resource: dict[str, Any] = yaml.safe_load((stack.ROOT / "examples/tiny-deployment.yaml").read_text())
    resource["spec"]["gpus"]["resourceName"] = "example.org/none"
    resource["spec"].update(spec)
    return resource


def runnable(name: str) -> dict[str, Any]:
    """On fake nodes only. A model from an image needs no volume; who is disturbed begins again after a second."""
    resource = tiny(
        restart={"backoff": {"initial": "1s", "max": "1s"}}, scheduling={"nodeSelector": {"hunyuan.dev/fake": "true"}}
    )
    resource["metadata"]["name"] = name
    resource["spec"]["gpus"] = {"perNode": 1}
    del resource["spec"]["model"]["pvc"]
    resource["spec"]["model"]["image"] = {"reference": "model:1"}
    return resource


def create(cluster: testbed.Cluster, namespace: str, resource: dict[str, Any]) -> None:
    cluster.kubectl("-n", namespace, "apply", "--server-side", "-f", "-", stdin=json.dumps(resource))


def pods(cluster: testbed.Cluster, namespace: str) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in stack.list_of(cluster, "pods", namespace))


def wait_pods(cluster: testbed.Cluster, namespace: str, expected: list[str]) -> None:
    stack.wait_until(
        f"pods are {expected}",
        lambda: pods(cluster, namespace) == expected,
        timeout=60,
        state=lambda: stack.diagnosis(cluster, namespace),
    )


def wait_quiet(operator: OperatorProcess) -> None:
    """Until nothing was written for a while."""
    seen = operator.writes()
    since = time.monotonic()

    def quiet() -> bool:
        nonlocal seen, since
        if (now := operator.writes()) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > QUIET

    stack.wait_until("the operator is quiet", quiet, timeout=120, state=lambda: operator.log)


def test_a_deployment_gets_its_objects_in_a_restricted_namespace_with_the_charts_rights(
    cluster: testbed.Cluster, restricted: str, shared: OperatorProcess
) -> None:
    create(cluster, restricted, tiny())
    wait_pods(cluster, restricted, ["tiny-g0-1-0", "tiny-g0-1-1"])
    for kind, name in (("service", "tiny"), ("service", "tiny-pods"), ("secret", "tiny-ray-token"), ("sa", "tiny")):
        owner = stack.get(cluster, kind, name, restricted)["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("HunyuanDeployment", "tiny", True)
    events = stack.list_of(cluster, "events.events.k8s.io", restricted)
    assert "AttemptStarted" in {event["reason"] for event in events if event["regarding"]["name"] == "tiny"}
    assert not [name for name in shared.metrics() if 'code="403"' in name], shared.log


def test_nothing_is_written_when_nothing_changes(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess
) -> None:
    create(cluster, namespace, tiny())
    wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
    wait_quiet(shared)
    version = stack.get(cluster, "hyd", "tiny", namespace)["metadata"]["resourceVersion"]
    before = shared.writes()
    time.sleep(QUIET)
    assert shared.writes() == before
    assert stack.get(cluster, "hyd", "tiny", namespace)["metadata"]["resourceVersion"] == version


def test_nothing_of_kopf_is_left_in_an_object(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess
) -> None:
    create(cluster, namespace, tiny())
    wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
    metadata = stack.get(cluster, "hyd", "tiny", namespace)["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


def test_scale_up_and_down(cluster: testbed.Cluster, namespace: str, shared: OperatorProcess) -> None:
    create(cluster, namespace, tiny())
    one = ["tiny-g0-1-0", "tiny-g0-1-1"]
    wait_pods(cluster, namespace, one)
    cluster.kubectl("-n", namespace, "scale", "hyd", "tiny", "--replicas=2")
    wait_pods(cluster, namespace, [*one, "tiny-g1-1-0", "tiny-g1-1-1"])
    cluster.kubectl("-n", namespace, "scale", "hyd", "tiny", "--replicas=1")
    wait_pods(cluster, namespace, one)


def test_a_lost_pod_means_a_new_attempt_and_its_cause_is_kept(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess
) -> None:
    create(cluster, namespace, tiny(restart={"backoff": {"initial": "1s", "max": "1s"}}))
    wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
    cluster.kubectl("-n", namespace, "delete", "pod", "tiny-g0-1-1")
    wait_pods(cluster, namespace, ["tiny-g0-2-0", "tiny-g0-2-1"])
    failure = stack.get(cluster, "hyd", "tiny", namespace)["status"]["lastFailure"]
    assert (failure["pod"], failure["reason"], failure["attempt"]) == ("tiny-g0-1-1", "PodDeleted", 1)


def test_deletion_leaves_nothing(cluster: testbed.Cluster, namespace: str, shared: OperatorProcess) -> None:
    create(cluster, namespace, tiny())
    wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
    cluster.kubectl("-n", namespace, "delete", "hyd", "tiny")
    label = "hunyuan.dev/deployment=tiny"
    stack.wait_until(
        "all children are gone",
        lambda: not stack.list_of(cluster, "pods,services,configmaps,secrets,serviceaccounts", namespace, label),
        timeout=60,
        state=lambda: stack.diagnosis(cluster, namespace),
    )


def test_a_deployment_made_anew_adopts_what_the_earlier_one_left(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess
) -> None:
    create(cluster, namespace, tiny())
    wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
    wait_quiet(shared)
    kinds, label = "pods,services,configmaps,serviceaccounts", "hunyuan.dev/deployment=tiny"
    left = {one["metadata"]["uid"] for one in stack.list_of(cluster, kinds, namespace, label)}
    cluster.kubectl("-n", namespace, "delete", "hyd", "tiny", "--cascade=orphan")
    create(cluster, namespace, tiny())
    owner = stack.get(cluster, "hyd", "tiny", namespace)["metadata"]["uid"]

    def adopted() -> bool:
        found = [one["metadata"] for one in stack.list_of(cluster, kinds, namespace, label)]
        assert {one["uid"] for one in found} == left
        return all([each["uid"] for each in one.get("ownerReferences", [])] == [owner] for one in found)

    stack.wait_until("all is adopted", adopted, timeout=60, state=lambda: shared.log)


def test_a_quota_is_reported_as_such(cluster: testbed.Cluster, namespace: str, shared: OperatorProcess) -> None:
    cluster.kubectl("-n", namespace, "create", "quota", "none", "--hard=pods=0")
    stack.wait_until(
        "the quota holds",
        lambda: "hard" in stack.get(cluster, "quota", "none", namespace).get("status", {}),
        timeout=30,
    )
    create(cluster, namespace, tiny())

    def degraded() -> bool:
        found = stack.condition(stack.get(cluster, "hyd", "tiny", namespace), "Degraded")
        return found.get("reason") == "QuotaExceeded" and "exceeded quota: none" in found["message"]

    stack.wait_until("Degraded says QuotaExceeded", degraded, timeout=60, state=lambda: shared.log)


def test_a_restart_writes_nothing_and_notices_what_happened_meanwhile(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess
) -> None:
    create(cluster, namespace, tiny(restart={"backoff": {"initial": "1s", "max": "1s"}}))
    wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
    wait_quiet(shared)

    code, seconds = shared.terminate()
    assert (code, seconds < 5) == (0, True), shared.log
    shared.start()
    shared.wait_leading()
    assert shared.is_alive()
    time.sleep(QUIET)
    assert shared.writes() == {}

    shared.terminate()
    cluster.kubectl("-n", namespace, "delete", "pod", "tiny-g0-1-0")
    shared.start()
    wait_pods(cluster, namespace, ["tiny-g0-2-0", "tiny-g0-2-1"])


def test_a_standby_is_ready_and_takes_over(
    cluster: testbed.Cluster, namespace: str, rights: Rights, shared: OperatorProcess
) -> None:
    shared.wait_leading()
    with running(rights, "op-standby") as standby:
        time.sleep(QUIET)
        assert standby.is_ready()
        assert not standby.leads()
        shared.terminate()  # gives the Lease back
        begin = time.monotonic()
        standby.wait_leading()
        assert time.monotonic() - begin < 5
        shared.start()
        shared.wait_ready()
        create(cluster, namespace, tiny())
        wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
        assert not shared.leads()
        standby.kill()  # doesn't give it back
        begin = time.monotonic()
        shared.wait_leading()
        taken = time.monotonic() - begin
        print(f"a killed leader was followed after {taken:.1f} s")
        assert taken < 15, "the promise for the chart's periods"


def test_it_ends_at_once_when_another_took_the_lease(cluster: testbed.Cluster, shared: OperatorProcess) -> None:
    shared.wait_leading()
    process = shared.process
    assert process is not None
    lease = ("-n", stack.SYSTEM_NAMESPACE, "patch", "lease", "hunyuan-operator", "--type=merge", "-p")
    spec = {"holderIdentity": "thief", "renewTime": "2026-01-01T00:00:00.000000Z"}
    cluster.kubectl(*lease, json.dumps({"spec": spec}))
    assert process.wait(timeout=10) == 1
    assert "thief holds the lease" in shared.log
    cluster.kubectl(*lease, json.dumps({"spec": {"holderIdentity": ""}}))
    shared.start()
    shared.wait_leading()


def test_a_team_can_have_an_operator_of_its_own_that_needs_no_right_beyond_its_namespace(
    cluster: testbed.Cluster, namespace: str, other_namespace: str, shared: OperatorProcess, tmp_path: Path
) -> None:
    """Installed, watching and leading in one namespace; that of another it can't even list."""
    shared.terminate()
    image = install(cluster, namespace, f",watchNamespaces={{{namespace}}}")
    rights = rights_of(image, cluster, tmp_path / "team.kubeconfig", namespace)
    with running(rights, "op-team", WATCH_NAMESPACES=namespace) as operator:
        operator.wait_leading()
        create(cluster, other_namespace, tiny())
        create(cluster, namespace, tiny())
        wait_pods(cluster, namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
        wait_quiet(operator)
        assert pods(cluster, other_namespace) == []
        assert not [name for name in operator.metrics() if 'code="403"' in name], operator.log
    question = ("auth", "can-i", "-q", f"--as=system:serviceaccount:{namespace}:hunyuan-operator", "list", "pods", "-n")
    assert cluster.clients.succeeds(*question, namespace)
    assert not cluster.clients.succeeds(*question, other_namespace)
    shared.start()
    wait_pods(cluster, other_namespace, ["tiny-g0-1-0", "tiny-g0-1-1"])
