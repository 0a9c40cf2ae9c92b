"""Tune the tiny model over two nodes, merge, and serve the result by its name: what a user does with three files.

Two tunings, one of the other's result: the tiny model knows twenty answers and hardly any other word, so first all its
weights learn 64 lines of one kind, and then adapters beside them 64 others.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import cluster as testbed
from tests import stack
from tests.e2e import tuning
from tests.e2e.tiny import EXAMPLE, START
from tests.e2e.tuning import Object
from tests.stack import DEMO_NAMESPACE as NAMESPACE
from tests.stack import Images

pytestmark = pytest.mark.cluster

ASK_ALL = """
import json, sys, urllib.request
host, model, path = sys.argv[1:]
wrong = []
for number, line in enumerate(json.loads(path), 1):
    *asked, answer = json.loads(line)["messages"]
    body = {"model": model, "messages": asked, "temperature": 0, "max_tokens": 200}
    request = urllib.request.Request(
        f"http://{host}:8000/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    got = json.load(urllib.request.urlopen(request, timeout=120))["choices"][0]["message"]["content"]
    if got != answer["content"]:
        wrong.append([number, answer["content"], got])
print(json.dumps(wrong, ensure_ascii=False))
"""

_TRAINING = {
    "maxSeqLength": 1024,
    "packing": True,
    "precision": "fp32",
    "gradientCheckpointing": False,
    "warmupSteps": 10,
    "minLearningRate": 1e-5,
}
_ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Which lines are taught to which model (a folder of the volume), and how."""

    name: str
    base: str
    lines: tuple[int, int]
    spec: Object = field(default_factory=dict)


FULL = Lesson(
    name="taught-full",
    base="tiny",
    lines=(65, 128),
    spec={
        "method": "full",
        "deepspeed": {"zero": 3},
        "training": {**_TRAINING, "maxSteps": 220, "saveSteps": 110, "learningRate": 3e-3},
    },
)
LORA = Lesson(
    name="taught-lora",
    base="tuned/taught-full/merged",
    lines=(1, 64),
    spec={
        "method": "lora",
        "lora": {"rank": 64, "alpha": 64, "dropout": 0, "targets": _ALL_LINEAR},
        "deepspeed": {"zero": 2},
        "training": {**_TRAINING, "maxSteps": 200, "saveSteps": 100, "learningRate": 3e-3},
    },
)


@pytest.fixture(scope="module", autouse=True)
def _room(cluster: testbed.Cluster) -> None:
    """The nodes' GPUs and cores: the tests before are done with the tiny deployment."""
    cluster.kubectl("-n", NAMESPACE, "delete", "hyd", "--all", "--wait")
    stack.wait_until(
        "its pods are gone",
        lambda: not stack.list_of(cluster, "pods", NAMESPACE, "hunyuan.dev/deployment"),
        timeout=120,
    )


@dataclass(frozen=True, kw_only=True)
class Tuned:
    lesson: Lesson
    status: Object
    output: Path


@pytest.fixture(scope="module", params=[FULL, LORA], ids=lambda lesson: lesson.name)
def tuned(request: pytest.FixtureRequest, cluster: testbed.Cluster, models: Path, trainer: None) -> Iterator[Tuned]:
    """A finished fine-tune, and a deployment that named it before it had a result."""
    lesson: Lesson = request.param
    tuning.clear_output(models, lesson.name)
    data = tuning.provide_data(models, f"{lesson.name}.jsonl", tuning.conversations(*lesson.lines))
    source = {"pvc": {"claimName": tuning.CLAIM, "path": data}}
    model = {"pvc": {"claimName": tuning.CLAIM, "path": lesson.base}}
    stack.apply(cluster, served(lesson.name))
    stack.apply(cluster, tuning.finetune(lesson.name, data, model=model, evaluation=source, **lesson.spec))
    status = tuning.complete(cluster, lesson.name)
    yield Tuned(lesson=lesson, status=status, output=models / "tuned" / lesson.name)
    cluster.kubectl("-n", NAMESPACE, "delete", "hyd,hyft", lesson.name, "--ignore-not-found")


def served(name: str) -> Object:
    resource: Object = yaml.safe_load(EXAMPLE.read_text())
    resource["metadata"] = {"name": name, "namespace": NAMESPACE}
    architecture = resource["spec"]["model"]["architecture"]
    resource["spec"]["model"] = {"fineTune": {"name": name}, "architecture": architecture}
    resource["spec"]["maxModelLen"] = 1024
    return resource


def test_it_trains_to_the_end_and_tells_its_figures(tuned: Tuned) -> None:
    found = tuned.status
    print(json.dumps(found, ensure_ascii=False, indent=1))
    assert [stage["name"] for stage in found["stages"]] == ["check", "train", "merge", "evaluate"]
    assert all(stage["finishedAt"] and not stage.get("failures") for stage in found["stages"])
    assert found["evaluation"]["accuracy"] == 1
    curve = [json.loads(line) for line in (tuned.output / "metrics.jsonl").read_text().splitlines()]
    training = tuned.lesson.spec["training"]
    assert [point["step"] for point in curve] == list(range(1, training["maxSteps"] + 1))
    assert found["finalLoss"] == curve[-1]["loss"] < curve[0]["loss"] / 10
    assert list((tuned.output / "tensorboard").rglob("events.out.tfevents.*"))


def test_the_deployment_that_names_it_answers_what_was_taught(
    cluster: testbed.Cluster, tuned: Tuned, images: Images
) -> None:
    name = tuned.lesson.name
    stack.wait_condition(cluster, name, NAMESPACE, ("Ready", "True"), timeout=START)
    lines = json.dumps(tuning.conversations(*tuned.lesson.lines), ensure_ascii=False)
    command = ["python3", "-c", ASK_ALL, f"{name}.{NAMESPACE}.svc", name, lines]
    told: list[Any] = json.loads(stack.run_in_pod(cluster, command, NAMESPACE, images.operator))
    assert told == []
