"""The deployment that the tests of this folder share, and its pods."""

from typing import Any

from tests import cluster as testbed
from tests import stack
from tests.stack import DEMO_NAMESPACE as NAMESPACE

NAME = "tiny"
EXAMPLE = stack.ROOT / "examples/tiny-deployment.yaml"
START = 15 * 60
"""Seconds for a group to be Ready; two cores need 2.5 minutes for one group alone."""

Object = dict[str, Any]


def pods(cluster: testbed.Cluster) -> list[Object]:
    found = stack.list_of(cluster, "pods", NAMESPACE, f"hunyuan.dev/deployment={NAME}")
    return sorted(found, key=lambda pod: pod["metadata"]["name"])
