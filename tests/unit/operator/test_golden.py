"""Whole outcomes, to be read and reviewed as a specification: ``tests/golden/<case>/{cr,objects,status}.yaml``.

``objects`` is all that is made for ``cr`` by its first start, ``status`` what is told after the case's story. Written
anew by ``GOLDEN=write pytest tests/unit/operator/test_golden.py``; the difference is then for a reviewer.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hunyuan_runtime.termination import Cause
from tests.unit.operator.fake_cluster import FakeCluster

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


STORIES: dict[str, Callable[[FakeCluster], Awaitable[None]]] = {
    "tiny-serving": serve,
    "tiny-worker-died": worker_died,
    "fp8-one-node": serve,
    "bf16-image-volume": unschedulable,
}


def test_every_case_has_its_story() -> None:
    assert {folder.name for folder in GOLDEN.iterdir()} == set(STORIES)


@pytest.mark.parametrize("case", STORIES)
async def test_golden(case: str) -> None:
    folder = GOLDEN / case
    cluster = FakeCluster(resource=yaml.safe_load((folder / "cr.yaml").read_text()))
    await cluster.pass_once()
    objects = [without_server_fields(cluster.objects[name]) for name in sorted(cluster.objects)]
    await STORIES[case](cluster)
    check(folder / "objects.yaml", yaml.safe_dump_all(objects, sort_keys=False, width=120))
    check(folder / "status.yaml", yaml.safe_dump(cluster.resource["status"], sort_keys=False, width=120))


def without_server_fields(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in {"uid", "creationTimestamp"}}
    return manifest | {"metadata": metadata}


def check(path: Path, text: str) -> None:
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert path.read_text() == text
