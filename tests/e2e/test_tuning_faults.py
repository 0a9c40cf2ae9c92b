"""Faults in the middle of one training run over two nodes. It ends with the loss of a run that nothing disturbed.

The faults come one after another in the same run, which also shows that they don't add up. Each is told with its cause,
and costs at most one save interval.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import cluster as testbed
from tests import stack
from tests.cluster.nodes import Node
from tests.cluster.paths import SMALL_VOLUME
from tests.cluster.testbed import NODES
from tests.e2e import matrix, tuning
from tests.e2e.tuning import Object
from tests.stack import DEMO_NAMESPACE as NAMESPACE

pytestmark = pytest.mark.cluster

UNDISTURBED, DISTURBED = "undisturbed", "disturbed"
MAX_STEPS, SAVE_STEPS = 160, 10
TRAINING = {
    "maxSteps": MAX_STEPS,
    "saveSteps": SAVE_STEPS,
    "maxSeqLength": 1024,
    "batchSizePerGpu": 2,
    "learningRate": 1e-3,
    "minLearningRate": 1e-4,
    "warmupSteps": 5,
    "precision": "fp32",
    "seed": 7,
}
RESTARTED = 420
"""Seconds from a fault to the first new step: the attempt's end, its back-off, two minutes in which a node that was at
fault is avoided and there is no other, and two imports of torch."""

KILL_THE_RANK = """
import os, psutil, signal
ranks = [p for p in psutil.Process(1).children(recursive=True) if not p.children() and "RANK" in p.environ()]
assert ranks, [p.cmdline() for p in psutil.process_iter()]
os.kill(ranks[0].pid, signal.SIGKILL)
"""


def spec(name: str, data: str) -> Object:
    lora = {"rank": 8, "alpha": 16, "dropout": 0.1}
    return tuning.finetune(
        name, data, claim=tuning.SMALL_CLAIM, lora=lora, training=TRAINING, after={"merge": {"enabled": False}}
    )


@pytest.fixture(scope="module")
def output(cluster: testbed.Cluster, models: Path) -> Path:
    """The folder of the claim ``small``: a disk of its own."""
    shutil.rmtree(SMALL_VOLUME / "tuned", ignore_errors=True)
    tuning.provide_small_volume(cluster)
    return SMALL_VOLUME / "tuned"


@pytest.fixture(scope="module")
def data(models: Path) -> str:
    return tuning.provide_data(models, "faults.jsonl", tuning.conversations(1, 32))


@pytest.fixture(scope="module")
def undisturbed(cluster: testbed.Cluster, trainer: None, output: Path, data: str) -> Object:
    stack.apply(cluster, spec(UNDISTURBED, data))
    return tuning.complete(cluster, UNDISTURBED)


@pytest.fixture(scope="module")
def run(cluster: testbed.Cluster, undisturbed: Object, data: str) -> Iterator[None]:
    stack.apply(cluster, spec(DISTURBED, data))
    yield
    cluster.kubectl("-n", NAMESPACE, "delete", "hyft", UNDISTURBED, DISTURBED, "--ignore-not-found")


def trains(cluster: testbed.Cluster, *, beyond: int) -> Object:
    """Status, once a step and a checkpoint beyond that one are told of the attempt that runs."""
    seen: Object = {}

    def does() -> bool:
        seen.clear()
        seen.update(tuning.status(cluster, DISTURBED))
        told = seen.get("progress") or {}
        assert seen.get("state") != "Complete", "the run ended before the fault: give it more steps"
        return int(told.get("step") or 0) > beyond and int(told.get("lastCheckpoint") or 0) >= beyond

    stack.wait_until(f"it trains beyond step {beyond}", does, timeout=RESTARTED, state=lambda: json.dumps(seen))
    return seen


@contextmanager
def told_and_resumed(cluster: testbed.Cluster, fault: str, *reasons: str) -> Iterator[Object]:
    """A fault in the body: told with one of these reasons, and the next attempt begins where the last was saved.

    The mapping holds the status before the fault and, afterwards, the failure.
    """
    known = tuning.progress(cluster, DISTURBED).get("lastCheckpoint") or 0
    before = trains(cluster, beyond=int(known) + 1)
    saved, attempt = int(before["progress"]["lastCheckpoint"]), tuning.stage(before, "train")["attempt"]
    record: Object = {"before": before, "saved": saved}
    began = time.time()
    yield record

    def fell() -> Object | None:
        failure = tuning.status(cluster, DISTURBED).get("lastFailure")
        return failure if failure and failure != before.get("lastFailure") else None

    failure = stack.wait_until("the fault is told", fell, timeout=180, state=lambda: _state(cluster))
    seen = time.time() - began
    print(f"told after {seen:.1f} s:", json.dumps(failure | {"log": "..."}, ensure_ascii=False))
    assert failure["reason"] in reasons, failure
    record["failure"] = failure
    again = stack.wait_until("the next attempt trains", lambda: _next(cluster, attempt), timeout=RESTARTED)
    matrix.record(fault, seen=seen, again=time.time() - began, reason=failure["reason"])
    print(f"trains again after {time.time() - began:.1f} s, at step {again['progress']['step']}")
    assert again["progress"]["lastCheckpoint"] >= saved, "nothing is trained twice beyond one save interval"


def _next(cluster: testbed.Cluster, attempt: int) -> Object | None:
    found = tuning.status(cluster, DISTURBED)
    trains = (found.get("progress") or {}).get("step") and found.get("state") in ("Training", "Saving")
    return found if trains and tuning.stage(found, "train")["attempt"] > attempt else None


def _state(cluster: testbed.Cluster) -> str:
    return json.dumps(tuning.status(cluster, DISTURBED), ensure_ascii=False, indent=1)


def last_reason(cluster: testbed.Cluster) -> str:
    return str(tuning.status(cluster, DISTURBED).get("lastFailure", {}).get("reason"))


def rank(cluster: testbed.Cluster, index: int) -> Object:
    return tuning.pods(cluster, DISTURBED)[index]


def test_a_killed_rank(cluster: testbed.Cluster, run: None) -> None:
    with told_and_resumed(cluster, "training-killed", "WorkerDied") as record:
        victim = rank(cluster, 1)
        cluster.kubectl("-n", NAMESPACE, "exec", victim["metadata"]["name"], "--", "python3", "-c", KILL_THE_RANK)
    assert record["failure"]["pod"] == victim["metadata"]["name"]
    assert record["failure"]["node"] == victim["spec"]["nodeName"]


def test_a_deleted_pod_saves_first_and_is_not_counted(cluster: testbed.Cluster, run: None) -> None:
    counted = len(tuning.stage(tuning.status(cluster, DISTURBED), "train").get("failures", []))
    with told_and_resumed(cluster, "training-disrupted", "PodDeleted"):
        cluster.kubectl("-n", NAMESPACE, "delete", "pod", rank(cluster, 0)["metadata"]["name"], "--wait=false")
    assert len(tuning.stage(tuning.status(cluster, DISTURBED), "train").get("failures", [])) <= counted


def test_a_restart_of_the_operator_is_no_fault(cluster: testbed.Cluster, run: None) -> None:
    before = trains(cluster, beyond=int(tuning.progress(cluster, DISTURBED).get("lastCheckpoint") or 0))
    cluster.kubectl("-n", stack.SYSTEM_NAMESPACE, "delete", "pods", "--all", "--grace-period=0", "--force")
    cluster.kubectl("-n", stack.SYSTEM_NAMESPACE, "rollout", "status", "deployment", "--timeout=120s")
    after = trains(cluster, beyond=int(before["progress"]["lastCheckpoint"]) + 1)
    assert tuning.stage(after, "train")["attempt"] == tuning.stage(before, "train")["attempt"]
    assert after.get("lastFailure") == before.get("lastFailure")


def test_a_full_disk_while_saving(cluster: testbed.Cluster, run: None) -> None:
    filler = SMALL_VOLUME / "filler"
    try:
        with told_and_resumed(cluster, "training-disk", "SaveFailed") as record:
            free = shutil.disk_usage(SMALL_VOLUME).free
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, free - 4096)
            stack.wait_until("it is told", lambda: last_reason(cluster) == "SaveFailed", timeout=120)
            filler.unlink()
    finally:
        filler.unlink(missing_ok=True)
    assert "free" in record["failure"]["message"], "with the numbers"


def test_a_corrupt_newest_checkpoint_after_a_pause(cluster: testbed.Cluster, run: None, output: Path) -> None:
    trains(cluster, beyond=int(tuning.progress(cluster, DISTURBED).get("lastCheckpoint") or 0) + 1)
    suspend(cluster, True)
    stack.wait_until("no pod runs", lambda: not tuning.pods(cluster, DISTURBED), timeout=120)
    stack.wait_until("it says so", lambda: tuning.status(cluster, DISTURBED).get("state") == "Suspended", timeout=30)
    newest, previous = sorted((output / DISTURBED / "checkpoints").glob("step-*"), reverse=True)[:2]
    victim = max((file for file in newest.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    with victim.open("r+b") as file:
        file.seek(victim.stat().st_size // 2)
        file.write(b"\xff" * 64)
    suspend(cluster, False)
    at = int(previous.name.removeprefix("step-"))
    found = stack.wait_until(
        "it resumes from the one before",
        lambda: (told := tuning.progress(cluster, DISTURBED)).get("step", 0) > at and told,
        timeout=RESTARTED,
        state=lambda: _state(cluster),
    )
    print(newest.name, "is corrupt; resumed from", previous.name, "now at", found["step"])


def suspend(cluster: testbed.Cluster, value: bool) -> None:
    patch = json.dumps({"spec": {"suspend": value}})
    cluster.kubectl("-n", NAMESPACE, "patch", "hyft", DISTURBED, "--type", "merge", "-p", patch)


@contextmanager
def cut_off(node: Node) -> Iterator[None]:
    """The node's only cable is pulled."""
    cable = f"hunyuan-{node.name}"
    subprocess.run(["ip", "link", "set", cable, "down"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "set", cable, "up"], check=True)


@pytest.mark.skip(
    reason="passed until nodes that were at fault are avoided; not run yet where there is no third node since"
)
def test_a_lost_node(cluster: testbed.Cluster, run: None) -> None:
    """The other rank tells within seconds. Where there is no third node, training goes on when this one is back."""
    [operator] = stack.list_of(cluster, "pods", stack.SYSTEM_NAMESPACE, "app.kubernetes.io/name=hunyuan-operator")
    reasons = ("RankLost", "RankUnreachable", "NodeLost", "LeaderLost")
    with told_and_resumed(cluster, "training-cut", *reasons) as record:
        victim = next(
            pod
            for pod in tuning.pods(cluster, DISTURBED)
            if pod["spec"]["nodeName"] != operator["spec"]["nodeName"]
        )  # fmt: skip
        node = next(node for node in NODES if node.name == victim["spec"]["nodeName"])
        known = record["before"].get("lastFailure")
        with cut_off(node):
            began = time.time()
            stack.wait_until(
                "it is told",
                lambda: tuning.status(cluster, DISTURBED).get("lastFailure") != known,
                timeout=120,
                state=lambda: _state(cluster),
            )
            print(f"a lost node is told after {time.time() - began:.1f} s")
    assert record["failure"]["node"] == node.name


def test_it_ends_with_the_loss_of_the_undisturbed_run(
    cluster: testbed.Cluster, run: None, undisturbed: Object, output: Path
) -> None:
    disturbed = tuning.complete(cluster, DISTURBED)
    assert disturbed["finalLoss"] == undisturbed["finalLoss"]
    curves = [
        [json.loads(line) for line in (output / name / "metrics.jsonl").read_text().splitlines()]
        for name in (UNDISTURBED, DISTURBED)
    ]
    assert [(one["step"], one["loss"]) for one in curves[0]] == [(one["step"], one["loss"]) for one in curves[1]]
    kept = sorted(folder.name for folder in (output / DISTURBED / "checkpoints").glob("step-*"))
    assert kept == [f"step-{step:08}" for step in (MAX_STEPS - SAVE_STEPS, MAX_STEPS)]
