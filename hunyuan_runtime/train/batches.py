"""Which examples make a step, on how many ranks that be: a step's are the same, only who computes them differs."""

from collections.abc import Iterator
from dataclasses import dataclass

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train_config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Batch:
    """``whole == micro * accumulation * ranks`` examples a step."""

    micro: int
    accumulation: int
    ranks: int

    @property
    def whole(self) -> int:
        return self.micro * self.accumulation * self.ranks

    def positions(self, step: int, rank: int) -> Iterator[range]:
        """Of each of the rank's micro-batches, in the endless order of the data."""
        for turn in range(self.accumulation):
            first = step * self.whole + (turn * self.ranks + rank) * self.micro
            yield range(first, first + self.micro)


def batch_of(config: TrainConfig, whole: int | None = None) -> Batch:
    """``whole`` is what the run began with, if this isn't its beginning: the accumulation follows the ranks.

    Raises:
        RuntimeFailure: ``ConfigInvalid``: it would not be a whole number.

    """
    training, ranks = config.training, config.world_size
    turn = training.batch_size_per_gpu * ranks
    if whole is None:
        return Batch(micro=training.batch_size_per_gpu, accumulation=training.gradient_accumulation, ranks=ranks)
    if whole % turn:
        raise RuntimeFailure(
            Cause.ConfigInvalid,
            f"the run began with {whole} examples a step, which {ranks} GPUs × {training.batch_size_per_gpu} examples "
            "don't divide: choose nodes and batchSizePerGpu so that they do",
        )
    return Batch(micro=training.batch_size_per_gpu, accumulation=whole // turn, ranks=ranks)
