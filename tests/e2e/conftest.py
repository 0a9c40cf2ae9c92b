"""One cluster, one operator and one model volume for all tests of this folder; what they hold is left as found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import cluster as testbed
from tests import stack
from tests.e2e.tiny import EXAMPLE, NAME, START
from tests.stack import DEMO_NAMESPACE, Images


@pytest.fixture(scope="session")
def images(cluster: testbed.Cluster) -> Images:
    return cluster.images


@pytest.fixture(scope="session")
def cluster() -> Iterator[testbed.Cluster]:
    """Two nodes with the operator running. The namespace is the demo's: a group that a demo left there is used."""
    cluster = testbed.up(nodes=2)
    stack.install_operator(cluster, cluster.images)
    stack.create_namespace(cluster, DEMO_NAMESPACE)
    yield cluster
    if cluster.kubeconfig is None:  # on somebody's own cluster; the test bed goes away as a whole
        cluster.kubectl("delete", "namespace", DEMO_NAMESPACE, "--ignore-not-found")


@pytest.fixture(scope="session")
def models(cluster: testbed.Cluster) -> Path:
    """The folder of this machine behind the claim ``models``, with the tiny model in ``tiny/``."""
    if cluster.models is None:
        pytest.skip("writes into the volume's folder: needs the test bed, not CLUSTER=existing")
    stack.provide_host_volume(cluster, cluster.models, DEMO_NAMESPACE)
    stack.provide_tiny_model(cluster, DEMO_NAMESPACE)
    return cluster.models


@pytest.fixture(scope="session")
def trainer(cluster: testbed.Cluster) -> None:
    """The training image on the nodes."""
    cluster.provide_train_image()


@pytest.fixture(scope="module")
def ready(cluster: testbed.Cluster, models: object) -> dict[str, Any]:
    """The tiny deployment, ready. Modules share its group: the second finds it running."""
    stack.apply_file(cluster, EXAMPLE, DEMO_NAMESPACE)
    return stack.wait_condition(cluster, NAME, DEMO_NAMESPACE, ("Ready", "True"), timeout=START)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test's report ends with the state of pods, events and logs."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and cluster is not None:  # type: ignore[attr-defined]  # pytest types a wrapper's yield as None
        report.sections.append(("cluster", stack.diagnosis(cluster, DEMO_NAMESPACE)))  # type: ignore[attr-defined]
    return report
