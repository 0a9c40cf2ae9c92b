"""``python -m hunyuan_runtime.train train`` as pods run it: real DeepSpeed, two ranks, a network namespace a pod.

Every fault is compared with one undisturbed run of the same seed: the losses must be the same to the last bit.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from hunyuan_runtime.entry import STOPPED
from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train.checkpoints import FOLDER, folder_name, is_complete, steps
from hunyuan_runtime.train_config import (
    DeepSpeedConfig,
    LoraConfig,
    TrainConfig,
    TrainingConfig,
    TrainPhase,
)
from tests.engine.network import pod_networks
from tests.engine.training_pods import PATIENCE, PodProcess, Pods

pytestmark = [
    pytest.mark.engine,
    pytest.mark.network,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

STEPS = 6
METHODS: dict[str, dict[str, Any]] = {
    # dropout, so that random numbers count; an adapter on the experts too
    "lora": {
        "method": "lora",
        "lora": LoraConfig(rank=4, alpha=8, dropout=0.2, targets=("q_proj", "v_proj", "up_proj")),
        "deepspeed": DeepSpeedConfig(zero=2),
    },
    "full": {"method": "full", "deepspeed": DeepSpeedConfig(zero=3)},
}


Start = Callable[..., list[PodProcess]]


@pytest.fixture(scope="module")
def networks() -> Iterator[list[tuple[str, str]]]:
    with pod_networks(2) as networks:
        yield networks


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    chats = [
        [{"role": "user", "content": f"What is {n} and {n}?"}, {"role": "assistant", "content": f"It is {2 * n}."}]
        for n in range(12)
    ]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return path


@pytest.fixture(scope="module")
def base(tiny: Path, data: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "model_path": str(tiny),
        "data_path": str(data),
        "nodes": 2,
        "gpus_per_node": 1,
        "join_timeout_seconds": 120,
        "collective_timeout_seconds": 30,
    }


def config(base: dict[str, Any], output: Path, **changes: Any) -> TrainConfig:
    training = TrainingConfig(
        **{
            "max_steps": STEPS,
            "save_steps": 2,
            "max_seq_length": 128,
            "gradient_accumulation": 2,
            "learning_rate": 1e-3,
            "weight_decay": 0.01,
            "expert_learning_rate_scale": 0.5,
            "precision": "fp32",
            **changes.pop("training", {}),
        }
    )
    return TrainConfig(**{**base, "output": str(output), "training": training, **changes})


@pytest.fixture(scope="module")
def start(networks: list[tuple[str, str]]) -> Iterator[Start]:
    """What is left of them is ended after the module."""
    with tempfile.TemporaryDirectory(prefix="hy-train-") as root:
        pods = Pods(networks, Path(root))
        yield pods.start
        pods.close()


def losses(output: Path) -> dict[int, float]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert len({line["step"] for line in found}) == len(found), "no step stands twice"
    return {line["step"]: line["loss"] for line in found}


@pytest.fixture(scope="module", params=list(METHODS))
def undisturbed(
    request: pytest.FixtureRequest, base: dict[str, Any], start: Start, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """A run without a fault: its method, and where its results are."""
    method, output = METHODS[request.param], tmp_path_factory.mktemp(request.param)
    pods = start(config(base, output, **method))
    assert [pod.end() for pod in pods] == [0, 0], pods[0].log[-8000:]
    report = pods[0].report
    assert report is not None
    assert report.steps == STEPS
    assert report.loss == losses(output)[STEPS]
    assert pods[1].report is None
    return method, output


def until(condition: Callable[[], bool], pods: list[PodProcess]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert all(pod.process.poll() is None for pod in pods), "\n".join(pod.log[-4000:] for pod in pods)
        assert time.monotonic() < deadline, pods[0].log[-8000:]
        time.sleep(0.05)


def test_the_loss_falls_and_only_the_last_checkpoints_stay(undisturbed: tuple[dict[str, Any], Path]) -> None:
    _, output = undisturbed
    told = losses(output)
    assert list(told) == list(range(1, STEPS + 1))
    assert told[STEPS] < told[1]
    assert steps(output / FOLDER) == [6, 4]
    assert list((output / "tensorboard").iterdir())


def test_a_killed_worker_ends_all_in_seconds_and_with_a_corrupt_newest_checkpoint_the_run_ends_the_same(
    undisturbed: tuple[dict[str, Any], Path], base: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    method, expected = undisturbed
    plan = config(base, tmp_path, **method)
    pods = start(plan)
    until(lambda: is_complete(tmp_path / FOLDER, 4), pods)
    [worker] = pods[1].workers()
    worker.send_signal(signal.SIGKILL)
    began = time.monotonic()
    codes = [pod.end(30) for pod in pods]
    print(f"both pods ended {time.monotonic() - began:.1f} s after one worker was killed")
    assert codes == [Cause.RankLost.exit_code, Cause.WorkerDied.exit_code]
    assert pods[1].message is not None
    assert "worker 0 was killed by SIGKILL" in pods[1].message.message

    newest = max(step for step in steps(tmp_path / FOLDER) if is_complete(tmp_path / FOLDER, step))
    shard = tmp_path / FOLDER / folder_name(newest) / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    if not shard.exists():
        shard = shard.with_name("bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)

    pods = start(plan)
    assert [pod.end() for pod in pods] == [0, 0], pods[0].log[-8000:]
    assert f"not used: {folder_name(newest)}/{shard.name} has another hash" in pods[0].log
    assert losses(tmp_path) == losses(expected)


def test_a_stop_saves_what_was_done_and_fewer_ranks_go_on_with_it(
    undisturbed: tuple[dict[str, Any], Path], base: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    method, expected = undisturbed
    pods = start(config(base, tmp_path, training={"save_steps": 1000}, **method))
    until(pods[0].stepping, pods)
    status = pods[0].status()
    assert status is not None
    assert status.phase in (TrainPhase.TRAINING, TrainPhase.SAVING)
    pods[1].process.send_signal(signal.SIGTERM)
    assert [pod.end(60) for pod in pods] == [STOPPED, STOPPED], pods[0].log[-8000:]
    [saved] = steps(tmp_path / FOLDER)
    assert saved == max(losses(tmp_path))

    [pod] = start(config({**base, "nodes": 1}, tmp_path, **method))
    assert pod.end() == 0, pod.log[-8000:]
    told, right = losses(tmp_path), losses(expected)
    assert list(told) == list(right)
    assert told == pytest.approx(right, rel=1e-4), "other ranks add up in another order"

    again = start(config({**base, "nodes": 1}, tmp_path, **method))
    assert again[0].end() == 0
    assert again[0].report is not None
    assert again[0].report.loss == told[STEPS], "a run that is done is done"


def test_more_ranks_go_on_with_what_one_began(base: dict[str, Any], start: Start, tmp_path: Path) -> None:
    one = config({**base, "nodes": 1}, tmp_path, training={"max_steps": 2}, **METHODS["full"])
    [pod] = start(one)
    assert pod.end() == 0, pod.log[-8000:]
    pods = start(config(base, tmp_path, training={"max_steps": 4}, **METHODS["full"]))
    assert [pod.end() for pod in pods] == [0, 0], pods[0].log[-8000:]
    manifest = json.loads((tmp_path / FOLDER / folder_name(4) / "manifest.json").read_text())
    assert (manifest["world_size"], manifest["batch"]) == (2, 2), "the batch is what the run began with"


def test_a_batch_that_more_ranks_would_not_divide_is_refused(
    base: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    one = {"training": {"max_steps": 1, "gradient_accumulation": 3}, **METHODS["full"]}
    [pod] = start(config({**base, "nodes": 1}, tmp_path, **one))
    assert pod.end() == 0, pod.log[-8000:]
    pods = start(config(base, tmp_path, training={"max_steps": 2}, **METHODS["full"]))
    assert [pod.end() for pod in pods] == [Cause.ConfigInvalid.exit_code] * 2
    assert pods[0].message is not None
    assert "3 examples a step, which 2 GPUs × 1" in pods[0].message.message


def test_a_silent_rank_is_given_up_after_the_time_that_is_set(
    base: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    plan = config({**base, "collective_timeout_seconds": 10}, tmp_path, training={"max_steps": 1000}, **METHODS["full"])
    pods = start(plan)
    until(pods[0].stepping, pods)
    [worker] = pods[1].workers()
    worker.suspend()
    began = time.monotonic()
    code = pods[0].end(60)
    print(f"the other pod ended {time.monotonic() - began:.1f} s after a worker was stopped")
    worker.kill()
    assert code == Cause.RankLost.exit_code, pods[0].log[-8000:]
    assert pods[1].end(30) == Cause.WorkerDied.exit_code


def test_a_disk_without_room_for_a_checkpoint_is_told_with_the_numbers(
    base: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], check=True)
    try:
        pods = start(config(base, tmp_path, **METHODS["full"]))
        assert [pod.end() for pod in pods] == [Cause.SaveFailed.exit_code] * 2, pods[0].log[-8000:]
        assert pods[0].message is not None
        assert "a checkpoint needs" in pods[0].message.message
        assert steps(tmp_path / FOLDER) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_pods_that_stay_away_are_named(base: dict[str, Any], start: Start, tmp_path: Path) -> None:
    plan = config({**base, "join_timeout_seconds": 5}, tmp_path, **METHODS["full"])
    [pod] = start(plan, pods=(0,))
    assert pod.end() == Cause.RanksMissing.exit_code
    assert pod.message is not None
    assert pod.message.message == "not met within 5 s: tiny-1"
    assert pod.message.ranks == (1,)


def test_two_workers_of_one_pod_end_with_it(base: dict[str, Any], start: Start, tmp_path: Path) -> None:
    plan = config({**base, "nodes": 1, "gpus_per_node": 2}, tmp_path, training={"max_steps": 1000}, **METHODS["full"])
    [pod] = start(plan)
    until(pod.stepping, [pod])
    workers = pod.workers()
    assert len(workers) == 2
    pod.process.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_a_pod_without_its_gpus_does_not_train_on_the_cpu(base: dict[str, Any], start: Start, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without GPUs")
    [pod] = start(config({**base, "nodes": 1}, tmp_path, **METHODS["full"]), device="cuda")
    assert pod.end() == Cause.ConfigInvalid.exit_code
    assert pod.message is not None
    assert "tiny-0 sees 0 GPUs, not 1" in pod.message.message


@pytest.mark.gpu
@pytest.mark.parametrize("method", list(METHODS))
def test_gpus_train_in_bf16(method: str, base: dict[str, Any], start: Start, tmp_path: Path) -> None:
    """Over all GPUs of this machine; it shows that NCCL, the fused optimizer and bf16 work together."""
    if not (count := torch.cuda.device_count()):
        pytest.skip("needs a GPU")
    plan = config(
        {**base, "nodes": 1, "gpus_per_node": count}, tmp_path, training={"precision": "bf16"}, **METHODS[method]
    )
    [pod] = start(plan, device="cuda")
    assert pod.end() == 0, pod.log[-8000:]
    told = losses(tmp_path)
    assert told[STEPS] < told[1]


def test_ranks_whose_tokens_skip_experts_stay_in_step() -> None:
    """Both stages compute the same, and no rank waits for another's experts."""
    told = {}
    for stage in (2, 3):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        env = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "MASTER_ADDR": "127.0.0.1"}
        ranks = [
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("skewed_routing.py")), str(stage)],
                env={**env, "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        out = [rank.communicate(timeout=PATIENCE)[0] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0, 0]
        told[stage] = [line for line in out[0].splitlines() if line.startswith(("loss", "changed"))]
    assert told[3][-1] == "changed 0 1", "what no token met isn't trained, and what one rank's met is trained on both"
    assert [float(line.split()[1]) for line in told[3][:-1]] == pytest.approx(
        [float(line.split()[1]) for line in told[2][:-1]], rel=1e-5
    )
