"""How often the operator writes, by the API server's own books: an object once, a status for a change, else nothing."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests import cluster as testbed
from tests import stack
from tests.apiserver import audit
from tests.apiserver.operator_process import OperatorProcess
from tests.apiserver.test_operator import create, runnable, wait_quiet

pytestmark = pytest.mark.apiserver

NAMES = ("tiny-0", "tiny-1", "tiny-2")
STATUS = "hunyuandeployments/status"
IDLE = 60
"""Seconds; longer than a node without a heartbeat counts as ready."""


class Counted:
    """What was written in one step, and how often the statuses changed in it."""

    def __init__(self, writes: list[audit.Write], changes: int) -> None:
        self.statuses = sum(one.resource == STATUS for one in writes)
        self.changes = changes
        self.objects = Counter(
            (one.verb, one.resource, one.name) for one in writes if one.resource not in (STATUS, "events")
        )
        self.kinds = Counter(f"{one.verb} {one.resource}" for one in writes)


@contextmanager
def counting(cluster: testbed.Cluster, namespace: str, shared: OperatorProcess, step: str) -> Iterator[list[Counted]]:
    """Until the operator is quiet; the one that is yielded in a list is there at the end."""
    before, found = len(audit.writes(namespace)), list[Counted]()
    resources = _resources(cluster, namespace)
    yield found
    wait_quiet(shared)
    # What is refused, such as the status of a resource that has just gone, writes nothing.
    done = [write for write in audit.writes(namespace)[before:] if write.done]
    found.append(Counted(done, _changes(cluster, namespace, resources)))
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(found[0].kinds.items()))
    print(f"{step} ({len(NAMES)} deployments): {counts or 'nothing'}")


def _resources(cluster: testbed.Cluster, namespace: str) -> dict[str, Any]:
    path = f"/apis/hunyuan.dev/v1alpha1/namespaces/{namespace}/hunyuandeployments"
    found: dict[str, Any] = json.loads(cluster.kubectl("get", "--raw", path))
    return found


def _changes(cluster: testbed.Cluster, namespace: str, before: dict[str, Any]) -> int:
    """How many different statuses the watch tells of since then."""
    version = before["metadata"]["resourceVersion"]
    path = f"/apis/hunyuan.dev/v1alpha1/namespaces/{namespace}/hunyuandeployments"
    text = cluster.kubectl("get", "--raw", f"{path}?watch=true&timeoutSeconds=1&resourceVersion={version}")
    statuses = {one["metadata"]["name"]: one.get("status") for one in before["items"]}
    changes = 0
    for resource in (json.loads(line)["object"] for line in text.splitlines()):
        name, status = resource["metadata"]["name"], resource.get("status")
        changes += status != statuses.get(name)
        statuses[name] = status
    return changes


def _wait_ready(cluster: testbed.Cluster, namespace: str) -> None:
    for name in NAMES:
        stack.wait_condition(cluster, name, namespace, ("Progressing", "False"), timeout=120)
        stack.wait_condition(cluster, name, namespace, ("Ready", "True"), timeout=60)


def _owned(cluster: testbed.Cluster, namespace: str) -> int:
    kinds = "pods,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets"
    return len(stack.list_of(cluster, kinds, namespace, "hunyuan.dev/deployment"))


def test_each_object_is_written_once_and_status_for_each_change(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess, fake_nodes: None
) -> None:
    audit.require(cluster)
    with counting(cluster, namespace, shared, "up to ready") as up:
        for name in NAMES:
            create(cluster, namespace, runnable(name))
        _wait_ready(cluster, namespace)
    assert {verb for verb, *_ in up[0].objects} == {"create"}
    assert len(up[0].objects) == _owned(cluster, namespace)

    with counting(cluster, namespace, shared, "scaled from one group to two") as scaled:
        for name in NAMES:
            cluster.kubectl("-n", namespace, "scale", "hyd", name, "--replicas=2")
        _wait_ready(cluster, namespace)
    assert Counter((verb, kind) for verb, kind, _ in scaled[0].objects) == {("create", "pods"): 2 * len(NAMES)}

    with counting(cluster, namespace, shared, "updated") as updated:
        for name in NAMES:
            patch = json.dumps({"spec": {"maxModelLen": 256}})
            cluster.kubectl("-n", namespace, "patch", "hyd", name, "--type=merge", "-p", patch)
        _wait_ready(cluster, namespace)
    assert updated[0].objects, "there was nothing to count"

    with counting(cluster, namespace, shared, "idle") as idle:
        time.sleep(IDLE)
    assert idle[0].kinds == {}

    with counting(cluster, namespace, shared, "deleted") as deleted:
        cluster.kubectl("-n", namespace, "delete", "hyd", "--all")
        stack.wait_until("all is gone", lambda: not _owned(cluster, namespace), timeout=60)
    assert deleted[0].kinds == {}, "Kubernetes' garbage collector does it all"

    for step in (*up, *scaled, *updated):
        assert set(step.objects.values()) == {1}
        assert step.statuses == step.changes
