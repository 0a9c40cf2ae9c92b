"""What an exception of the training means, and how a worker hears and tells."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from hunyuan_runtime.entry import STOPPED
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from hunyuan_runtime.train.training import check_finite, seed_of
from hunyuan_runtime.train.words import Word, WordReader, WordWriter, as_failure
from hunyuan_runtime.train.worker import cause_of
from hunyuan_runtime.train_config import TrainPhase, TrainStatus
from tests.unit.train.test_progress import step

GLOO = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:41")


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (RuntimeFailure(Cause.SaveFailed, "full"), Cause.SaveFailed, "full"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), Cause.GpuMemoryExhausted, "maxSeqLength"),
        (GLOO, Cause.RankLost, "Connection closed by peer"),
        (dist.DistBackendError("NCCL error: remote process exited"), Cause.RankLost, "remote process exited"),
        (dist.DistNetworkError("reset"), Cause.RankLost, "reset"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with"), Cause.GpuFault, "ECC"),
        (
            dist.DistBackendError("Cuda failure 220 'uncorrectable NVLink error detected during the execution'"),
            Cause.GpuFault,
            "NVLink",
        ),
        (RuntimeError("shape mismatch"), Cause.Unexpected, "RuntimeError: shape mismatch"),
        (KeyError(), Cause.Unexpected, "KeyError: KeyError"),
    ],
    ids=[
        "a cause of ours",
        "memory",
        "gloo",
        "NCCL",
        "the store",
        "a GPU",
        "a link of GPUs",
        "a defect",
        "without words",
    ],
)
def test_an_exception_has_a_cause(error: Exception, cause: Cause, words: str) -> None:
    failure = cause_of(error, patience=120)
    assert failure.cause is cause
    assert words in str(failure)


@pytest.mark.parametrize("changes", [{"loss": float("nan")}, {"loss": float("inf")}, {"grad_norm": float("nan")}])
def test_a_loss_that_is_no_number_ends_the_run_with_the_figures(changes: dict[str, Any]) -> None:
    check_finite(step(3))
    with pytest.raises(RuntimeFailure, match=r"step 3: loss .*, learning rate 0.001, gradient norm ") as failure:
        check_finite(replace(step(3), **changes))
    assert failure.value.cause is Cause.LossNotFinite


def test_random_numbers_belong_to_a_place_in_the_data() -> None:
    assert seed_of(0, 5) == seed_of(0, 5)
    assert len({seed_of(seed, position) for seed in range(10) for position in range(100)}) == 1000


def test_words_cross_a_pipe_whole() -> None:
    read, write = os.pipe()
    reader, writer = WordReader(read), WordWriter(write)
    status = Word(status=TrainStatus(phase=TrainPhase.TRAINING, done=3))
    lost = RuntimeFailure(Cause.RankLost, "gone", ranks=(1,))
    writer.write(status)
    assert reader.read() == [status]
    writer.write(Word(failure=TerminationMessage.of(lost, rank=0)))
    os.close(write)
    [word] = reader.read()
    assert word.failure is not None
    heard = as_failure(word.failure)
    assert (heard.cause, str(heard), heard.ranks) == (lost.cause, "gone", (1,))
    assert reader.read() == []
    assert reader.ended
    os.close(read)


@pytest.mark.parametrize(("asked", "code"), [("", STOPPED), ("stopping()", 7)], ids=["before", "once it steps"])
def test_a_stop_is_at_once_before_the_first_step_and_then_at_its_end(asked: str, code: int) -> None:
    program = (
        "import os, signal\nfrom hunyuan_runtime.train.worker import StopFlag\n"
        f"stopping = StopFlag()\n{asked}\nos.kill(os.getpid(), signal.SIGTERM)\nos._exit(7 if stopping() else 8)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == code
