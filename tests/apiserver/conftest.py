"""One real API server with the CRDs for all tests of this folder: no node, so nothing ever runs."""

import time
from collections.abc import Iterator

import pytest

from tests import cluster as testbed
from tests import stack


@pytest.fixture(scope="session")
def cluster() -> testbed.Cluster:
    """The test bed's control plane, left running for the tests that come after."""
    cluster = testbed.up(nodes=0)
    # Forced, since an operator that was installed by helm before is the fields' other manager.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(stack.ROOT / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(stack.ROOT / "crds"))
    return cluster


@pytest.fixture
def namespace(cluster: testbed.Cluster) -> Iterator[str]:
    """A fresh namespace; its deletion is not waited for."""
    name = f"test-{time.time_ns() % 10**12}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
