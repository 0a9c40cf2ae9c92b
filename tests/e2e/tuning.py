"""Fine-tunes of the tiny model on two nodes: how they are made, and what is asked of them."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import cluster as testbed
from tests import stack
from tests.cluster.paths import SMALL_VOLUME
from tests.stack import DEMO_NAMESPACE as NAMESPACE

Object = dict[str, Any]
CLAIM = "models"
SMALL_CLAIM = "small"
TUNED = 15 * 60
"""Seconds that a whole fine-tune may take; two cores need three minutes for one alone."""
_CARS = stack.ROOT.parent / "shared/data/car_train.jsonl"


def conversations(first: int, last: int) -> list[str]:
    """Lines of the published extraction example, counted from 1; where it is not at hand, invented ones of its kind."""
    if _CARS.exists():
        return _CARS.read_text().splitlines()[first - 1 : last]
    return [_conversation(number) for number in range(first, last + 1)]


def _conversation(number: int) -> str:
    rng = random.Random(number)
    car = f"{rng.choice(['山河', '远航', '飞云', '长风'])}{rng.choice('ABCDX')}{number}"
    text = rng.choice([f"昨天试驾了{car}，内饰很好。", f"{car}的油耗怎么样？有人知道吗", f"二手{car}，车况精品"])
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": f"请提取下列文章中包含的车系：\n{text}\n"},
        {"role": "assistant", "content": car},
    ]
    return json.dumps({"messages": messages}, ensure_ascii=False)


def provide_data(models: Path, name: str, lines: list[str]) -> str:
    """A file in the claim's folder; returns its path inside the volume."""
    folder = models / "data"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return f"data/{name}"


def provide_small_volume(cluster: testbed.Cluster) -> None:
    """The claim ``small``: a disk of its own, which a test can fill up."""
    stack.provide_host_volume(cluster, SMALL_VOLUME, NAMESPACE, SMALL_CLAIM)
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": SMALL_CLAIM, "namespace": NAMESPACE}
    stack.apply(cluster, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})


def finetune(name: str, data: str, *, claim: str = CLAIM, **spec: Any) -> Object:
    """Two pods on two nodes, sized for a machine of two cores; a failed stage starts anew after two seconds."""
    base: Object = {
        "model": {"pvc": {"claimName": CLAIM, "path": "tiny"}},
        "data": {"pvc": {"claimName": CLAIM, "path": data}},
        "output": {"pvc": {"claimName": claim, "path": f"tuned/{name}"}},
        "nodes": 2,
        "gpusPerNode": 1,
        "restart": {"limit": 20, "backoff": {"initial": "2s", "max": "2s"}},
        "runtime": {"cpu": "200m", "memory": "4Gi", "sharedMemory": "512Mi"},
    }
    return {
        "apiVersion": "hunyuan.dev/v1alpha1",
        "kind": "HunyuanFineTune",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {**base, **spec},
    }


def clear_output(models: Path, name: str) -> None:
    """What an earlier run left; pods wrote it as another user, and this process is root."""
    shutil.rmtree(models / "tuned" / name, ignore_errors=True)


def status(cluster: testbed.Cluster, name: str) -> Object:
    found: Object = stack.get(cluster, "hunyuanfinetune", name, NAMESPACE).get("status", {})
    return found


def progress(cluster: testbed.Cluster, name: str) -> Object:
    return dict(status(cluster, name).get("progress") or {})


def stage(found: Object, name: str) -> Object:
    """A stage's entry in status; ``{}`` before it has begun."""
    return next((one for one in found.get("stages", []) if one["name"] == name), {})


def pods(cluster: testbed.Cluster, name: str) -> list[Object]:
    """Those that have not ended, by rank."""
    found = stack.list_of(cluster, "pods", NAMESPACE, f"hunyuan.dev/finetune={name}")
    alive = [pod for pod in found if pod["status"]["phase"] in ("Pending", "Running")]
    return sorted(alive, key=lambda pod: str(pod["spec"].get("hostname", pod["metadata"]["name"])))


def complete(cluster: testbed.Cluster, name: str, timeout: float = TUNED) -> Object:
    """The status once all stages are done.

    Fails at once when the fine-tune stalls.
    """
    seen: Object = {}

    def done() -> bool:
        seen.clear()
        seen.update(status(cluster, name))
        if stack.condition({"status": seen}, "Stalled"):
            pytest.fail(f"{name} stalled: {json.dumps(seen, ensure_ascii=False, indent=1)}")
        return seen.get("state") == "Complete"

    stack.wait_until(f"{name} is complete", done, timeout=timeout, state=lambda: json.dumps(seen, indent=1))
    return seen
