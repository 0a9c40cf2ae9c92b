"""By what a pod ends when its workers have ended."""

import signal

import pytest

from hunyuan_runtime.config import Rank
from hunyuan_runtime.entry import STOPPED
from hunyuan_runtime.preflight.wiring import Wiring
from hunyuan_runtime.processes import Stopped
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from hunyuan_runtime.train.launch import End, verdict, worker_environment
from tests.unit.train.configs import config


def failed(local: int, cause: Cause) -> End:
    message = TerminationMessage.of(RuntimeFailure(cause, f"{cause.name} of {local}"), rank=1)
    return End(local=local, code=cause.exit_code, failure=message)


KILLED = End(local=1, code=-signal.SIGKILL)
LOST = failed(0, Cause.RankLost)
ASKED = End(local=0, code=STOPPED)


@pytest.mark.parametrize(
    ("ends", "cause", "words"),
    [
        ([LOST, KILLED], Cause.WorkerDied, "car-1: worker 1 was killed by SIGKILL"),
        ([End(local=0, code=-signal.SIGABRT)], Cause.WorkerDied, "worker 0 aborted (SIGABRT)"),
        ([End(local=0, code=-signal.SIGSEGV)], Cause.WorkerDied, "worker 0 was killed by SIGSEGV"),
        ([End(local=0, code=1)], Cause.WorkerDied, "worker 0 ended with code 1"),
        ([LOST, failed(1, Cause.SaveFailed)], Cause.SaveFailed, "SaveFailed of 1"),
        ([KILLED, failed(0, Cause.LossNotFinite)], Cause.LossNotFinite, "LossNotFinite of 0"),
        ([LOST, failed(1, Cause.RankLost)], Cause.RankLost, "RankLost of 0"),
        ([LOST, End(local=1, code=0)], Cause.RankLost, "RankLost of 0"),
        ([ASKED, KILLED], Cause.WorkerDied, "worker 1 was killed"),
    ],
    ids=[
        "a killed worker, and one that missed it",
        "an abort",
        "another signal",
        "an end without a word",
        "a full disk, and one that missed the other",
        "words tell more than a signal",
        "a lost peer in another pod",
        "lost at the very end",
        "a kill while stopping",
    ],
)
def test_the_cause_comes_before_its_consequences(ends: list[End], cause: Cause, words: str) -> None:
    end = verdict(ends, "car-1", 1)
    assert isinstance(end, RuntimeFailure)
    assert end.cause is cause
    assert words in str(end)
    if cause is Cause.WorkerDied:
        assert end.ranks == (1,)


@pytest.mark.parametrize(
    "ends",
    [
        [ASKED, End(local=1, code=STOPPED)],
        [ASKED, failed(1, Cause.RankLost)],
        [End(local=0, code=-signal.SIGTERM), End(local=1, code=-signal.SIGTERM)],
    ],
    ids=["both", "and one that missed it", "before they could listen"],
)
def test_who_was_asked_to_end_did_not_fail(ends: list[End]) -> None:
    assert isinstance(verdict(ends, "car-1", 1), Stopped)


def test_workers_that_are_done_are_done() -> None:
    assert verdict([End(local=0, code=0), End(local=1, code=0)], "car-1", 1) is None


RANK = Rank(index=1, leader="car-0.pods", pod_ip="10.0.0.2")
WIRING = Wiring(pod_ip="10.0.0.2", interface="eth1", address="10.1.0.2")


def test_workers_know_where_to_meet_and_by_which_interface() -> None:
    env = worker_environment(config(), RANK, WIRING, {"PATH": "/bin"})
    told = {
        "PATH": "/bin",
        "MASTER_ADDR": "car-0.pods",
        "MASTER_PORT": "29500",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
    }
    assert told.items() <= env.items()
    assert env["NCCL_SOCKET_IFNAME"] == "=eth1"
    assert env["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "1"
    assert "DS_ACCELERATOR" not in env


def test_without_gpus_each_worker_has_one_thread_unless_the_pod_says_otherwise() -> None:
    env = worker_environment(config(), RANK, WIRING, {"HUNYUAN_DEVICE": "cpu"})
    assert (env["DS_ACCELERATOR"], env["OMP_NUM_THREADS"]) == ("cpu", "1")
    own = worker_environment(config(), RANK, WIRING, {"HUNYUAN_DEVICE": "cpu", "OMP_NUM_THREADS": "4"})
    assert own["OMP_NUM_THREADS"] == "4"
