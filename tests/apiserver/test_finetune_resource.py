"""A HunyuanFineTune as people see it through kubectl: defaults, columns, texts."""

import json
from typing import Any

import pytest
from hunyuan_operator.api.finetune import HunyuanFineTune

from tests import cluster as testbed
from tests import stack

pytestmark = pytest.mark.apiserver

RESOURCE: dict[str, Any] = {
    "apiVersion": "hunyuan.dev/v1alpha1",
    "kind": "HunyuanFineTune",
    "metadata": {"name": "car"},
    # Suspended, for the case that the cluster has an operator.
    "spec": {
        "model": {"pvc": {"claimName": "models"}},
        "data": {"pvc": {"claimName": "data", "path": "car_train.jsonl"}},
        "output": {"pvc": {"claimName": "models", "path": "car"}},
        "suspend": True,
    },
}
FAILURE = {
    "time": "2026-11-05T04:00:00Z",
    "stage": "train",
    "attempt": 1,
    "pod": "car-train-1-0-abcde",
    "reason": "RankLost",
}
STATUS: dict[str, Any] = {
    "stage": "train",
    "state": "Training",
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "NotComplete", "lastTransitionTime": "2026-11-05T04:00:00Z"}
    ],
    "stages": [
        {"name": "check", "attempt": 1, "finishedAt": "2026-11-05T03:00:00Z", "report": "64 conversations"},
        {"name": "train", "attempt": 2, "nodes": ["node-1", "node-2"]},
    ],
    "progress": {
        "step": 3,
        "totalSteps": 200,
        "loss": 1.25,
        "learningRate": 1e-05,
        "tokensPerSecond": 1234.5,
        "mfu": 0.31,
        "lastCheckpoint": 2,
        "estimatedFinish": "2026-11-05T05:00:00Z",
        "time": "2026-11-05T04:00:00Z",
    },
    "finalLoss": 0.5,
    "evaluation": {"loss": 0.5, "accuracy": 0.75, "fieldAccuracy": 1},
    "result": {"claimName": "models", "path": "car/merged", "digest": "sha256:0"},
    "adapter": {"claimName": "models", "path": "car/adapter", "digest": "sha256:1"},
    "lastFailure": FAILURE,
}


@pytest.fixture
def created(cluster: testbed.Cluster, namespace: str) -> dict[str, Any]:
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(RESOURCE))
    return stack.get(cluster, "hyft", "car", namespace)


def test_what_is_stored_shows_every_default_and_means_the_same(created: dict[str, Any]) -> None:
    stored = HunyuanFineTune.parse(created).spec
    assert stored == HunyuanFineTune.parse(RESOURCE).spec
    assert created["spec"] == stored.model_dump(by_alias=True, exclude_none=True)


def test_a_status_is_stored_as_it_was_written_and_shown_in_columns(
    cluster: testbed.Cluster, namespace: str, created: dict[str, Any]
) -> None:
    patch = json.dumps({"status": STATUS})
    cluster.kubectl("-n", namespace, "patch", "hyft", "car", "--subresource=status", "--type=merge", "-p", patch)
    assert stack.get(cluster, "hyft", "car", namespace)["status"] == STATUS
    head, row = cluster.kubectl("-n", namespace, "get", "hyft").splitlines()
    assert head.split() == ["NAME", "READY", "STAGE", "STATE", "STEP", "STEPS", "LOSS", "AGE"]
    assert row.split()[:-1] == ["car", "False", "train", "Training", "3", "200", "1.25"]
    wide = cluster.kubectl("-n", namespace, "get", "hyft", "-o", "wide")
    assert "2026-11-05T05:00:00Z" in wide
    assert "car/merged" in wide


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("hyft", "Fine-tuning of Tencent Hunyuan-Large over several GPU nodes"),
        ("hyft.spec.method", "ENUM: lora full attention"),
        ("hyft.spec.training.expertLearningRateScale", "0.31 is the technical report's"),
        ("hyft.status.stages.retryAt", "Earliest start of the next attempt"),
    ],
)
def test_kubectl_explain_knows_it(cluster: testbed.Cluster, field: str, text: str) -> None:
    assert text in " ".join(cluster.kubectl("explain", field).split())
