"""What rank 0 tells of a run: the status, ``metrics.jsonl`` and TensorBoard's files. Nothing of a step stands twice."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from hunyuan_runtime.pace import Pace
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train_config import TrainPhase, TrainStatus

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimizer step: ``step`` counts from 1, ``tokens`` are the real ones of all ranks."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    tokens_per_second: float
    mfu: float | None = None


class Progress:
    """Begins behind step ``start``: what an earlier process told of later ones is taken back."""

    def __init__(self, output: Path, start: int, max_steps: int, report: Callable[[TrainStatus], None]) -> None:
        self._path, self._report = output / METRICS, report
        self._total, self._pace = max_steps, Pace()
        self._pace.progress(start, max_steps, time.monotonic())
        self.status = TrainStatus(phase=TrainPhase.TRAINING, done=start, total=max_steps, checkpoint=start or None)
        try:
            output.mkdir(parents=True, exist_ok=True)
            keep_until(self._path, start)
            self._board = SummaryWriter(str(output / TENSORBOARD), purge_step=start + 1)
        except OSError as error:
            raise _unwritable(output, error) from error
        report(self.status)

    def note(self, step: Step) -> None:
        """Write a step down.

        Raises:
            RuntimeFailure: ``SaveFailed``.

        """
        numbers = asdict(step)
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(numbers) + "\n")
            for name, value in numbers.items():
                if name != "step" and value is not None:
                    self._board.add_scalar(f"train/{name}", value, step.step)
            self._board.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def tell(self, step: Step) -> None:
        """Status after a step."""
        left = self._pace.progress(step.step, self._total, time.monotonic()).remaining_seconds
        self.update(
            phase=TrainPhase.TRAINING,
            done=step.step,
            remaining_seconds=left,
            loss=step.loss,
            learning_rate=step.learning_rate,
            tokens_per_second=round(step.tokens_per_second, 1),
            mfu=None if step.mfu is None else round(step.mfu, 4),
        )

    def update(self, **changes: object) -> None:
        self.status = self.status.model_copy(update=changes)
        self._report(self.status)

    def close(self) -> None:
        self._board.close()


def keep_until(path: Path, step: int) -> None:
    """Drop the lines of later steps, and one that a kill cut short; the file is replaced as a whole."""
    if not path.exists():
        return
    part = path.with_suffix(".part")
    part.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if _step_of(line) <= step))
    part.rename(path)


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _unwritable(path: Path, error: OSError) -> RuntimeFailure:
    return RuntimeFailure(Cause.SaveFailed, f"{path}: {error.strerror or error}")
