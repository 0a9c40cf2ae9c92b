"""Which examples make a step: all of them once, the same ones on any number of ranks."""

import pytest

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.batches import Batch, batch_of
from tests.unit.train.configs import config, training


@pytest.mark.parametrize(("micro", "accumulation", "ranks"), [(1, 8, 1), (1, 4, 2), (2, 2, 2), (4, 1, 2), (1, 1, 8)])
def test_a_step_has_the_same_examples_whoever_computes_them(micro: int, accumulation: int, ranks: int) -> None:
    batch = Batch(micro=micro, accumulation=accumulation, ranks=ranks)
    taken = [at for rank in range(ranks) for part in batch.positions(3, rank) for at in part]
    assert sorted(taken) == list(range(24, 32))


def test_a_run_begins_with_what_the_spec_says() -> None:
    batch = batch_of(config(training=training(batch_size_per_gpu=2, gradient_accumulation=3)))
    assert batch == Batch(micro=2, accumulation=3, ranks=8)
    assert batch.whole == 48


@pytest.mark.parametrize(
    ("nodes", "accumulation"), [(1, 4), (2, 2), (4, 1)], ids=["on half the nodes", "on as many", "on twice as many"]
)
def test_the_accumulation_follows_the_nodes(nodes: int, accumulation: int) -> None:
    assert batch_of(config(nodes=nodes), whole=16).accumulation == accumulation


def test_a_batch_that_the_gpus_do_not_divide_is_refused_with_the_numbers() -> None:
    with pytest.raises(RuntimeFailure, match=r"16 examples a step, which 12 GPUs × 1") as failure:
        batch_of(config(nodes=3), whole=16)
    assert failure.value.cause is Cause.ConfigInvalid
