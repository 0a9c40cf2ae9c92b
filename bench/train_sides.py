"""One side of a comparison in a process of its own: one thread, and a peak of memory that is nobody else's.

The process that asks imports no torch: a child's peak begins with that of the process that starts it.
"""

import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any

PEAK_SIZE = 1024


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One step.

    Attributes:
        cpu_seconds: of the side's thread. What other processes take from the machine is in ``seconds`` only.
        peak: operations a second in products of square matrices, just before.
    """

    seconds: float
    cpu_seconds: float
    peak: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of the process, in MiB: with the model and its input made, and at most since."""

    at_rest: float
    peak: float


class Side:
    """A process that makes a case of ``train_cases`` and takes steps when it is told to."""

    def __init__(self, name: str, **sizes: int) -> None:
        self.name = name
        self._process = ProcessPoolExecutor(1, get_context("spawn"), initializer=_make, initargs=(name, sizes))

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.shutdown(cancel_futures=True)

    def turn(self) -> Turn:
        return self._process.submit(_turn).result()

    def memory(self) -> Memory:
        return self._process.submit(_memory).result()

    def flops(self) -> dict[str, float]:
        """As ``train_cases.Flops``. Takes a step, and memory that an ordinary one doesn't."""
        return self._process.submit(_flops).result()

    def difference(self) -> dict[str, float]:
        """Of the two formulations of the block, at this side's sizes."""
        return self._process.submit(_difference).result()


_made: dict[str, Any] = {}
"""In a side's process: what :func:`_make` has made."""


def _make(name: str, sizes: dict[str, int]) -> None:
    import torch  # noqa: PLC0415 - in a side's process only
    from train_cases import CASES, Sizes  # noqa: PLC0415 - likewise

    torch.set_num_threads(1)
    torch.manual_seed(0)
    _made["sizes"] = Sizes(**sizes)
    _made["case"] = CASES[name](_made["sizes"])
    _made["at rest"] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    _made["case"].step()  # the first one allocates


def _turn() -> Turn:
    peak = _matmul_peak()
    began, cpu_began = time.perf_counter(), time.process_time()
    _made["case"].step()
    return Turn(seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - cpu_began, peak=peak)


def _matmul_peak() -> float:
    """The best of ten, since what disturbs it only makes it slower."""
    import torch  # noqa: PLC0415 - in a side's process only

    left, right, out = (torch.randn(PEAK_SIZE, PEAK_SIZE) for _ in range(3))
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        seconds.append(time.perf_counter() - began)
    return 2 * PEAK_SIZE**3 / min(seconds)


def _memory() -> Memory:
    return Memory(at_rest=_made["at rest"], peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _flops() -> dict[str, float]:
    return asdict(_made["case"].flops())


def _difference() -> dict[str, float]:
    from train_cases import difference  # noqa: PLC0415 - in a side's process only

    return difference(_made["sizes"])
