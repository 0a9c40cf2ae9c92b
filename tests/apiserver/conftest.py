"""One real API server with the CRDs for all tests of this folder: no node, so nothing ever runs."""

import time
from collections.abc import Iterator

import pytest

from tests import cluster as testbed
from tests import stack
from tests.apiserver import operator_process
from tests.apiserver.operator_process import OperatorProcess, Rights, running


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
    yield from _namespace(cluster)


@pytest.fixture
def other_namespace(cluster: testbed.Cluster) -> Iterator[str]:
    yield from _namespace(cluster)


def _namespace(cluster: testbed.Cluster) -> Iterator[str]:
    name = f"test-{time.time_ns() % 10**12}"
    cluster.kubectl("create", "namespace", name)
    yield name
    # First, so that no operator writes into a namespace that is on its way out.
    cluster.kubectl("-n", name, "delete", "hyd,hyft", "--all", "--wait=false")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def rights(cluster: testbed.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Rights:
    return operator_process.rights(cluster, tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def shared(rights: Rights) -> Iterator[OperatorProcess]:
    with running(rights, "op-shared") as operator:
        operator.wait_leading()
        yield operator


@pytest.fixture
def fake_nodes(cluster: testbed.Cluster) -> Iterator[None]:
    """Two nodes on which pods run, while they are there."""
    cluster.add_fake_nodes(2)
    yield
    cluster.remove_fake_nodes()


@pytest.fixture
def restricted(cluster: testbed.Cluster, namespace: str) -> str:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return namespace
