"""A deployment made anew takes over what an earlier one of its name left (``kubectl delete --cascade=orphan``)."""

from typing import Any

import pytest
from hunyuan_operator.api.times import format_time
from hunyuan_operator.errors import Conflict

from tests.unit.operator.fake_cluster import FakeCluster, deployment


async def orphaned(**spec: Any) -> FakeCluster:
    """Pods that serve, and all else, of a deployment that is gone; the next has another UID and no status."""
    cluster = FakeCluster(subject=deployment())
    await cluster.serve()
    for one in cluster.objects.values():
        one["metadata"]["ownerReferences"] = []
    cluster.subject = deployment(**spec)
    cluster.subject["metadata"]["uid"] = "uid-of-the-next"
    cluster.writes.clear()
    return cluster


def owners(cluster: FakeCluster, kind: str) -> set[str]:
    return {
        owner["uid"]
        for (found, _), one in cluster.objects.items()
        for owner in one["metadata"]["ownerReferences"]
        if found == kind
    }


async def test_pods_that_serve_go_on_serving() -> None:
    cluster = await orphaned()
    before = {name: cluster.pod(name)["metadata"]["uid"] for name in cluster.pods}
    await cluster.settle()
    assert {name: cluster.pod(name)["metadata"]["uid"] for name in cluster.pods} == before
    assert not [write for write in cluster.writes if write.startswith(("create", "delete"))]
    assert cluster.condition("Ready")[0] == "True"
    for kind in ("Pod", "Service", "ConfigMap", "ServiceAccount"):
        assert owners(cluster, kind) == {"uid-of-the-next"}


async def test_pods_of_another_spec_are_replaced() -> None:
    cluster = await orphaned(maxModelLen=2048)
    await cluster.serve()
    assert cluster.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]
    assert owners(cluster, "Pod") == {"uid-of-the-next"}


async def test_pods_of_a_group_that_is_not_wanted_go() -> None:
    cluster = await orphaned(groups=0)
    await cluster.settle()
    cluster.let_go()
    assert cluster.pods == []


async def test_a_deployment_that_is_being_deleted_takes_nothing_back() -> None:
    """The operator may see that its pods have lost their owner before it sees that the owner goes."""
    cluster = FakeCluster(subject=deployment())
    await cluster.serve()
    picture = cluster.resource(cluster.key)
    cluster.subject["metadata"] |= {"resourceVersion": "2", "deletionTimestamp": format_time(cluster.now)}
    for name in cluster.pods:
        cluster.pod(name)["metadata"]["ownerReferences"] = []
    cluster.resource = lambda key: picture  # type: ignore[method-assign]  # late
    cluster.writes.clear()
    with pytest.raises(Conflict):
        await cluster.pass_once()
    assert cluster.writes == []
