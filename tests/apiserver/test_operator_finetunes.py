"""Fine-tunes, and deployments of what they make, against a real API server with the chart's rights and no more."""

import json
from typing import Any

import pytest
import yaml

from tests import cluster as testbed
from tests import stack
from tests.apiserver.operator_process import OperatorProcess

pytestmark = pytest.mark.apiserver

Object = dict[str, Any]


def example(name: str, **spec: Any) -> Object:
    resource: Object = yaml.safe_load((stack.ROOT / f"examples/{name}.yaml").read_text())
    resource["spec"] |= spec
    return resource


def fine_tune(**spec: Any) -> Object:
    """Its pods ask for a node that is nowhere, so that they stay pending wherever this runs."""
    return example("tiny-finetune", scheduling={"nodeSelector": {"example.org/none": ""}}, **spec)


def create(cluster: testbed.Cluster, namespace: str, resource: Object) -> None:
    cluster.kubectl("-n", namespace, "apply", "--server-side", "-f", "-", stdin=json.dumps(resource))


def wait_names(cluster: testbed.Cluster, namespace: str, kind: str, expected: list[str]) -> None:
    stack.wait_until(
        f"{kind} are {expected}",
        lambda: sorted(one["metadata"]["name"] for one in stack.list_of(cluster, kind, namespace)) == expected,
        timeout=60,
        state=lambda: stack.diagnosis(cluster, namespace),
    )


def wait_reason(cluster: testbed.Cluster, namespace: str, reason: str) -> None:
    def seen() -> bool:
        return stack.condition(stack.get(cluster, "hyd", "tiny", namespace), "Ready").get("reason") == reason

    stack.wait_until(f"hyd/tiny says {reason}", seen, timeout=30, state=lambda: stack.diagnosis(cluster, namespace))


def tell_result(cluster: testbed.Cluster, namespace: str, digest: str) -> None:
    result = {"claimName": "models", "path": "tiny-cars/merged", "digest": digest}
    patch = json.dumps({"status": {"result": result}})
    cluster.kubectl("-n", namespace, "patch", "hyft", "tiny-cars", "--subresource=status", "--type=merge", "-p", patch)


def test_a_fine_tune_gets_its_job_in_a_restricted_namespace_with_the_charts_rights(
    cluster: testbed.Cluster, restricted: str, shared: OperatorProcess
) -> None:
    create(cluster, restricted, fine_tune(runtime={"image": "train:test"}))
    wait_names(cluster, restricted, "jobs", ["tiny-cars-check-1"])
    owner = stack.get(cluster, "job", "tiny-cars-check-1", restricted)["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("HunyuanFineTune", "tiny-cars", True)
    assert not [name for name in shared.metrics() if 'code="403"' in name], shared.log
    cluster.kubectl("-n", restricted, "delete", "hyft", "tiny-cars")
    for kind in ("jobs", "services"):
        wait_names(cluster, restricted, kind, [])


def test_a_deployment_waits_for_its_fine_tune_and_follows_it(
    cluster: testbed.Cluster, namespace: str, shared: OperatorProcess
) -> None:
    served = example("tiny-deployment", model={"fineTune": {"name": "tiny-cars"}})
    served["spec"]["model"]["architecture"] = example("tiny-deployment")["spec"]["model"]["architecture"]
    served["spec"]["gpus"]["resourceName"] = "example.org/none"
    create(cluster, namespace, served)
    wait_reason(cluster, namespace, "FineTuneNotFound")
    create(cluster, namespace, fine_tune(suspend=True))
    wait_reason(cluster, namespace, "FineTuneNotReady")
    assert stack.list_of(cluster, "pods", namespace) == []
    tell_result(cluster, namespace, "sha256:1")
    wait_names(cluster, namespace, "pods", ["tiny-g0-1-0", "tiny-g0-1-1"])
    volumes = stack.get(cluster, "pod", "tiny-g0-1-0", namespace)["spec"]["volumes"]
    assert {"claimName": "models", "readOnly": True} in [one.get("persistentVolumeClaim") for one in volumes]
    tell_result(cluster, namespace, "sha256:2")
    wait_names(cluster, namespace, "pods", ["tiny-g0-2-0", "tiny-g0-2-1"])
