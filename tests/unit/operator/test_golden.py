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

from hunyuan_runtime.config import Phase, Progress
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


async def fetching(cluster: FakeCluster) -> None:
    await cluster.settle()
    cluster.start_fetching()
    progress = Progress(done_bytes=12_300_000_000, total_bytes=390_500_000_000, remaining_seconds=3000)
    cluster.tell(Phase.FETCHING, progress=progress)
    await cluster.settle()


STORIES: dict[str, Callable[[FakeCluster], Awaitable[None]]] = {
    "tiny-serving": serve,
    "tiny-worker-died": worker_died,
    "fp8-one-node": serve,
    "bf16-image-volume": unschedulable,
    "hub-fetching": fetching,
}


def test_every_case_has_its_story() -> None:
    assert {folder.name for folder in GOLDEN.iterdir()} == set(STORIES)


@pytest.mark.parametrize("case", STORIES)
async def test_golden(case: str) -> None:
    folder = GOLDEN / case
    cluster = FakeCluster(subject=yaml.safe_load((folder / "cr.yaml").read_text()))
    await cluster.pass_once()
    objects = [without_server_fields(cluster.objects[name]) for name in sorted(cluster.objects)]
    await STORIES[case](cluster)
    check(folder / "objects.yaml", objects)
    check(folder / "status.yaml", [cluster.subject["status"]])


def without_server_fields(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in {"uid", "creationTimestamp"}}
    return manifest | {"metadata": metadata}


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
