"""Whole outcomes, to be read and reviewed as a specification: ``tests/golden/<case>/{cr,objects,status}.yaml``.

``objects`` is all that is made for ``cr`` by its first start, of a fine-tune all that its story makes; ``status`` is
what is told after it. Written anew by ``GOLDEN=write pytest tests/unit/operator/test_golden.py``; the difference is
then for a reviewer.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hunyuan_runtime.config import Phase, Progress
from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage, TrainPhase, TrainStatus
from tests.unit.operator.fake_cluster import FakeCluster
from tests.unit.operator.fake_training import FakeTraining

GOLDEN = Path(__file__).parents[2] / "golden"


async def serve(cluster: FakeCluster) -> None:
    await cluster.serve()


async def worker_died(cluster: FakeCluster) -> None:
    await cluster.serve()
    cluster.advance(600)
    cluster.end("tiny-g0-1-1", Cause.WorkerDied, "the engine's process of rank 1 was ended by SIGKILL")
    await cluster.settle()


async def unschedulable(cluster: FakeCluster) -> None:
    await cluster.settle()
    for pod in cluster.pods:
        cluster.trouble(pod, "0/4 nodes are available: 4 Insufficient amd.com/gpu.")
    await cluster.settle()


async def fetching(cluster: FakeCluster) -> None:
    await cluster.settle()
    cluster.start_fetching()
    progress = Progress(done_bytes=12_300_000_000, total_bytes=390_500_000_000, remaining_seconds=3000)
    cluster.tell(Phase.FETCHING, progress=progress)
    await cluster.settle()


async def tuned(cluster: FakeTraining) -> None:
    await cluster.until(None)


async def training(cluster: FakeTraining) -> None:
    """Its second attempt, after a rank was killed."""
    await cluster.until(Stage.TRAIN)
    cluster.advance(3600)
    job = cluster.jobs[-1]
    cluster.fail(job, 3, Cause.WorkerDied, "worker 5 was killed by SIGKILL")
    for _ in range(3):
        await cluster.settle()
        cluster.let_go()
        cluster.advance(30)
        cluster.run()
    figures = {"loss": 0.4375, "learning_rate": 9e-6, "tokens_per_second": 21504.0, "mfu": 0.31, "checkpoint": 100}
    cluster.tell(TrainStatus(phase=TrainPhase.TRAINING, done=120, total=200, remaining_seconds=1500, **figures))
    await cluster.settle()


async def refused_data(cluster: FakeTraining) -> None:
    await cluster.until(Stage.CHECK)
    cluster.fail(cluster.jobs[0], 0, Cause.DataInvalid, "line 317: not JSON: Expecting ',' delimiter, column 41")
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()


FINE_TUNES: dict[str, Callable[[FakeTraining], Awaitable[None]]] = {
    "finetune-lora-complete": tuned,
    "finetune-full-training": training,
    "finetune-data-invalid": refused_data,
}
STORIES: dict[str, Callable[[FakeCluster], Awaitable[None]]] = {
    "tiny-serving": serve,
    "tiny-worker-died": worker_died,
    "fp8-one-node": serve,
    "bf16-image-volume": unschedulable,
    "hub-fetching": fetching,
    "gang-volcano": serve,
}


def test_every_case_has_its_story() -> None:
    assert {folder.name for folder in GOLDEN.iterdir()} == {*STORIES, *FINE_TUNES}


@pytest.mark.parametrize("case", STORIES)
async def test_golden(case: str) -> None:
    folder = GOLDEN / case
    cluster = FakeCluster(subject=yaml.safe_load((folder / "cr.yaml").read_text()))
    await cluster.pass_once()
    objects = [without_server_fields(cluster.objects[name]) for name in sorted(cluster.objects)]
    await STORIES[case](cluster)
    check(folder / "objects.yaml", objects)
    check(folder / "status.yaml", [cluster.subject["status"]])


@pytest.mark.parametrize("case", FINE_TUNES)
async def test_golden_fine_tune(case: str) -> None:
    folder = GOLDEN / case
    cluster = FakeTraining(subject=yaml.safe_load((folder / "cr.yaml").read_text()))
    await FINE_TUNES[case](cluster)
    made = [cluster.objects[name] for name in sorted(cluster.objects) if name[0] != "Pod"]
    check(folder / "objects.yaml", [without_server_fields(manifest) for manifest in made])
    check(folder / "status.yaml", [cluster.subject["status"]])


def without_server_fields(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        k: v for k, v in manifest["metadata"].items() if k not in {"uid", "creationTimestamp", "resourceVersion"}
    }
    return {k: v for k, v in manifest.items() if k != "status"} | {"metadata": metadata}


class Readable(yaml.SafeDumper):
    """No aliases, texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, represent_text)


def check(path: Path, documents: list[dict[str, Any]]) -> None:
    text = yaml.dump_all(documents, Dumper=Readable, sort_keys=False, width=120, allow_unicode=True)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert path.read_text() == text
