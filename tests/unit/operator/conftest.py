"""What the tests of a deployment begin with."""

import pytest

from tests.unit.operator.fake_cluster import FakeCluster, deployment


@pytest.fixture
async def cluster() -> FakeCluster:
    """One group that serves: rank 0 on node-0, rank 1 on node-1. What led there is not among its Events."""
    cluster = FakeCluster(subject=deployment())
    await cluster.serve()
    cluster.events.clear()
    return cluster
