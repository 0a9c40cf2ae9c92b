"""Bad input is refused before a GPU is asked for: a clear reason in status, and no pod left running."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import cluster as testbed
from tests import stack
from tests.cluster.paths import SMALL_VOLUME
from tests.e2e import tuning
from tests.e2e.tuning import Object
from tests.stack import DEMO_NAMESPACE as NAMESPACE

pytestmark = pytest.mark.cluster

SEEN_WITHIN = 300
"""Seconds until all of them are refused: their checks share two cores."""

USER = {"role": "user", "content": "你好"}
ASSISTANT = {"role": "assistant", "content": "好"}


def line(*messages: Object) -> str:
    return json.dumps({"messages": list(messages)}, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    reason: str
    message: tuple[str, ...]
    lines: list[str] | None = None
    spec: Object = field(default_factory=dict)


CASES = {
    "missing-file": Refusal(reason="DataNotFound", message=("data/missing-file.jsonl",)),
    "broken-json": Refusal(
        reason="DataInvalid",
        message=("line 317",),
        lines=[*[line(USER, ASSISTANT)] * 316, '{"messages": [', *[line(USER, ASSISTANT)] * 3],
    ),
    "empty-answer": Refusal(
        reason="DataInvalid",
        message=("line 2",),
        lines=[line(USER, ASSISTANT), line(USER, {**ASSISTANT, "content": ""})],
    ),
    "wrong-order": Refusal(
        reason="DataInvalid",
        message=("line 3",),
        lines=[line(USER, ASSISTANT)] * 2 + [line(USER, USER, ASSISTANT)],
    ),
    "too-long": Refusal(
        reason="DataInvalid",
        message=("line 1", "64"),
        lines=[line(USER, {**ASSISTANT, "content": "很长" * 200})],
        spec={"training": {"maxSteps": 2, "saveSteps": 1, "maxSeqLength": 64}},
    ),
    "wrong-model": Refusal(
        reason="ModelUnsupported",
        message=("LlamaForCausalLM",),
        lines=[line(USER, ASSISTANT)],
        spec={"model": {"pvc": {"claimName": tuning.CLAIM, "path": "not-hunyuan"}}},
    ),
    "no-space": Refusal(
        reason="SpaceInsufficient",
        message=("free",),
        lines=[line(USER, ASSISTANT)],
        spec={"output": {"pvc": {"claimName": tuning.SMALL_CLAIM, "path": "tuned/no-space"}}},
    ),
}


@pytest.fixture(scope="module")
def applied(cluster: testbed.Cluster, trainer: None, models: Path) -> Iterator[None]:
    """All of them at once."""
    tuning.provide_small_volume(cluster)
    other = models / "not-hunyuan"
    other.mkdir(exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (other / "config.json").write_text(json.dumps(config))
    filler = SMALL_VOLUME / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(SMALL_VOLUME).free - 2**20)
    for name, case in CASES.items():
        tuning.clear_output(models, name)
        data = tuning.provide_data(models, f"{name}.jsonl", case.lines or [])
        if case.lines is None:
            (models / data).unlink()
        stack.apply(cluster, tuning.finetune(name, data, **case.spec))
    yield
    filler.unlink()
    shutil.rmtree(other)
    cluster.kubectl("-n", NAMESPACE, "delete", "hyft", *CASES, "--ignore-not-found")


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_its_reason(cluster: testbed.Cluster, applied: None, name: str) -> None:
    case = CASES[name]

    def stalled() -> Object | None:
        resource = stack.get(cluster, "hunyuanfinetune", name, NAMESPACE)
        return resource if stack.is_current(resource, "Stalled", "True") else None

    resource = stack.wait_until(
        f"{name} is refused",
        stalled,
        timeout=SEEN_WITHIN,
        state=lambda: json.dumps(tuning.status(cluster, name), ensure_ascii=False, indent=1),
    )
    told = stack.condition(resource, "Stalled")
    print(told["reason"], told["message"])
    assert told["reason"] == case.reason
    assert all(part in told["message"] for part in case.message), told["message"]
    assert stack.condition(resource, "Degraded")["reason"] == case.reason
    # The kubelet says of a pod that it failed a moment after its container's end, which the operator goes by.
    stack.wait_until("no pod is left running", lambda: not tuning.pods(cluster, name), timeout=30)
