"""The bench of training: formulas against torch's own counter, the two formulations against each other, its sums."""

from dataclasses import asdict

import pytest
import torch
import train
from block_flops import PUBLISHED
from click.testing import CliRunner
from train import Measured, compare
from train_cases import CASES, Block, DenseBlock, DenseTraining, Sizes, Training, difference
from train_sides import Memory, Side, Turn

SMALL = Sizes(tokens=64, experts=4, hidden=64, layers=2, vocabulary=96, lora_rank=4)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_both_formulations_give_the_same_output_and_gradients() -> None:
    assert max(difference(SMALL).values()) < 1e-5


def test_a_token_that_one_of_them_lost_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    index_add = torch.Tensor.index_add

    def without_the_last(out: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        return index_add(out, dim, index[:-1], source[:-1])

    monkeypatch.setattr(torch.Tensor, "index_add", without_the_last)
    assert min(difference(SMALL).values()) > 1e-3


@pytest.mark.parametrize("case", [Block, DenseBlock])
def test_a_blocks_formula_is_what_torch_counts(case: type[Block]) -> None:
    flops = case(SMALL).flops()
    assert flops.counted == flops.formula


@pytest.mark.parametrize("case", [Training, DenseTraining])
def test_a_steps_formula_is_close_to_what_torch_counts(case: type[Training]) -> None:
    """What it leaves out: the first layer's input needs no gradient."""
    flops = case(Sizes(tokens=64, experts=4, hidden=128, layers=4, vocabulary=512)).flops()
    assert 0.97 < flops.counted / flops.formula <= 1


def test_the_dense_model_has_as_many_parameters_for_a_token() -> None:
    """But for experts that a token isn't sent to, the router, norms of heads, and keys and values of cross layers."""
    sizes = Sizes(tokens=16, experts=4, hidden=128, layers=4, vocabulary=512)
    ours, plain = Training(sizes), DenseTraining(sizes)
    frozen = [sum(p.numel() for p in case.model.parameters() if not p.requires_grad) for case in (ours, plain)]
    expert = 3 * sizes.hidden * sizes.intermediate
    unused = sizes.layers * (sizes.experts - 1) * expert
    router, head_norms, cross = 4 * sizes.hidden * 4, 4 * 2 * 64, 2 * 2 * sizes.hidden * 64
    assert frozen[0] - unused - router - head_norms == frozen[1] - cross


@pytest.mark.parametrize("name", CASES)
def test_a_step_changes_what_it_trains(name: str) -> None:
    case = CASES[name](SMALL)
    case.step()
    if isinstance(case, Training):
        assert any(p.abs().max() > 0 for n, p in case.model.named_parameters() if "lora_B" in n)
    elif isinstance(case, Block):
        assert all(p.grad is not None for p in case.module.parameters())


def test_at_the_published_size_dense_dispatch_computes_nine_times_as_much() -> None:
    assert round(PUBLISHED.dense_dispatch() / PUBLISHED.index_dispatch(), 1) == 9.0


def turn(cpu_seconds: float, seconds: float = 0) -> Turn:
    return Turn(seconds=seconds or cpu_seconds, cpu_seconds=cpu_seconds, peak=100e9)


def measured(*turns: Turn, flops: float = 50e9) -> Measured:
    figures = {"model": flops, "formula": flops, "counted": 2 * flops}
    return Measured(turns=turns, memory=Memory(at_rest=400, peak=500), flops=figures)


def test_the_ratio_is_the_median_of_rounds_and_of_processor_time() -> None:
    """A machine that is slow for a while is so for both sides; one that is busy lengthens the clock's seconds only."""
    ours, other = [turn(1), turn(2), turn(1, seconds=5)], [turn(9), turn(20), turn(12)]
    found = compare("block", {"ours": measured(*ours), "other": measured(*other)})
    assert (found.ratio, found.ratios, found.clock_ratio) == (10, [9, 10, 12], 9)
    assert [row.cpu_seconds for row in found.results] == [1, 12]
    assert [row.memory for row in found.results] == [100, 100]
    assert found.results[0].mfu == 0.5
    assert found.results[0].computed_over_formula == 2
    assert "block: 10.00 x (9.00-12.00), by the clock 9.00 x" in train.table([found])


def test_sides_take_turns_and_change_the_order() -> None:
    taken: list[str] = []

    class Played(Side):
        def __init__(self, name: str) -> None:
            self.name = name

        def turn(self) -> Turn:
            taken.append(self.name)
            return turn(1)

        def memory(self) -> Memory:
            return Memory(at_rest=0, peak=0)

        def flops(self) -> dict[str, float]:
            return {"model": 1, "formula": 1, "counted": 1}

    found = train.measure([Played("a"), Played("b")], rounds=3)
    assert taken == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(side.turns) for name, side in found.items()} == {"a": 3, "b": 3}


@pytest.mark.engine  # imports transformers and peft once more
def test_a_side_has_a_process_of_its_own() -> None:
    with Side("index dispatch", **{key: value for key, value in asdict(SMALL).items() if key != "vocabulary"}) as side:
        taken, memory = side.turn(), side.memory()
    assert taken.cpu_seconds > 0
    assert memory.peak >= memory.at_rest > 50


def test_help_needs_no_torch() -> None:
    result = CliRunner().invoke(train.main, ["--help"])
    assert result.exit_code == 0
    assert "--sequence" in result.output
