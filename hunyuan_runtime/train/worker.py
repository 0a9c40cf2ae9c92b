"""``python -m hunyuan_runtime.train.worker``: one process of a run, started by :mod:`.launch` for one GPU.

It tells its pod's main process how far it is and how it ends, and ends when that one does.
"""

import argparse
import ctypes
import os
import signal
import sys
import traceback

import torch

from hunyuan_runtime.entry import STOPPED, argument_parser, read_config, read_rank
from hunyuan_runtime.gpu_fault import gpu_fault
from hunyuan_runtime.processes import Stopped
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from hunyuan_runtime.train.rendezvous import Seat, meet
from hunyuan_runtime.train.saving import is_loss_of_peer
from hunyuan_runtime.train.training import train
from hunyuan_runtime.train.words import Word, WordWriter
from hunyuan_runtime.train_config import TrainConfig

_PR_SET_PDEATHSIG = 1


class StopFlag:
    """SIGTERM before the first step ends the process at once, later it ends the run after the current step."""

    def __init__(self) -> None:
        self.set = False
        self._immediate = True
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, *_: object) -> None:
        self.set = True
        if self._immediate:
            os._exit(STOPPED)

    def __call__(self) -> bool:
        """Whether a stop was asked for; from the first question on, there is someone who asks."""
        self._immediate = False
        return self.set


def main() -> int:
    stopping = StopFlag()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    options = parse_arguments()
    words = WordWriter(options.words)
    try:
        config, pod = read_config(options.config, TrainConfig), read_rank()
        seat = Seat(
            rank=int(os.environ["RANK"]),
            local=int(os.environ["LOCAL_RANK"]),
            ranks=int(os.environ["WORLD_SIZE"]),
            pod=pod,
        )
        meet(seat, config)
        report = train(config, seat, lambda status: words.write(Word(status=status)), stopping)
    except Stopped:
        return STOPPED
    except Exception as error:  # whatever it is, the main process has to know
        traceback.print_exception(error)
        failure = cause_of(error, config.collective_timeout_seconds)
        words.write(Word(failure=TerminationMessage.of(failure, pod.index)))
        return failure.cause.exit_code
    if seat.rank == 0:
        words.write(Word(report=report))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser("hunyuan_runtime.train.worker", __doc__)
    parser.add_argument("--words", type=int, required=True, help="file descriptor of the pipe to the main process")
    return parser.parse_args()


def cause_of(error: Exception, patience: int) -> RuntimeFailure:
    """What an exception of the training means."""
    if isinstance(error, RuntimeFailure):
        return error
    words = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, torch.OutOfMemoryError):
        return RuntimeFailure(
            Cause.GpuMemoryExhausted,
            f"{words[0]} What lowers it: maxSeqLength, batchSizePerGpu (with more gradientAccumulation), "
            "gradientCheckpointing, deepspeed.offload, more nodes with ZeRO 3",
        )
    if broken := gpu_fault(str(error)):
        return RuntimeFailure(Cause.GpuFault, f"{broken}: {type(error).__name__}")
    if is_loss_of_peer(error):
        return RuntimeFailure(Cause.RankLost, f"{words[0]} (a silent peer is given up after {patience} s)")
    return RuntimeFailure(Cause.Unexpected, f"{type(error).__name__}: {words[0]}")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tearing down process groups whose peers have gone can wait for ever
