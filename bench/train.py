#!/usr/bin/env python3
"""How fast training is, on this machine and in one run: ``python bench/train.py [--json]``.

Two comparisons, on one thread and in fp32:

``block``  a mixture of experts, forward and backward: index dispatch (``hunyuan_runtime.model``) against the original
           formulation's dense dispatch, whose output and gradients are compared as well.
``step``   a whole step of LoRA with AdamW: our model with its experts against plain transformers and peft with a dense
           one that has as many parameters for a token.

Each side has a process of its own. They take turns, every second round in the other order; a ratio is the median over
the rounds, with the smallest and the largest. It is of processor time, which a busy machine disturbs less; the ratio by
the clock is printed too. MFU is what of the machine's speed in large products of matrices, measured before each step,
the model's operations make up: what a formulation computes in vain doesn't count.
"""

import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import click
from block_flops import PUBLISHED
from train_sides import Memory, Side, Turn


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One side, after its turns. ``flops`` as ``train_cases.Flops``."""

    turns: Sequence[Turn]
    memory: Memory
    flops: Mapping[str, float]

    def median(self, value: Callable[[Turn], float]) -> float:
        return statistics.median(map(value, self.turns))


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of one side. Times in seconds, memory in MiB."""

    side: str
    seconds: float
    cpu_seconds: float
    memory: float
    """Peak of the process, less what it had before the first step."""
    peak_memory: float
    model_gflop: float
    computed_gflop: float
    """By torch's own counter, with attention between all pairs of tokens; ``_over_formula``: over what we calculate."""
    computed_over_formula: float
    mfu: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``ratio``: the second side's processor time over the first's."""

    name: str
    ratio: float
    ratios: Sequence[float]
    clock_ratio: float
    results: Sequence[Result]


def compare(name: str, measured: Mapping[str, Measured]) -> Comparison:
    first, second = measured.values()
    pairs = list(zip(first.turns, second.turns, strict=True))
    ratios = [above.cpu_seconds / below.cpu_seconds for below, above in pairs]
    peak = max(turn.peak for each in measured.values() for turn in each.turns)
    return Comparison(
        name=name,
        ratio=statistics.median(ratios),
        ratios=ratios,
        clock_ratio=statistics.median(above.seconds / below.seconds for below, above in pairs),
        results=[result(side, each, peak) for side, each in measured.items()],
    )


def result(side: str, measured: Measured, peak: float) -> Result:
    cpu_seconds = measured.median(lambda turn: turn.cpu_seconds)
    return Result(
        side=side,
        seconds=measured.median(lambda turn: turn.seconds),
        cpu_seconds=cpu_seconds,
        memory=measured.memory.peak - measured.memory.at_rest,
        peak_memory=measured.memory.peak,
        model_gflop=measured.flops["model"] / 1e9,
        computed_gflop=measured.flops["counted"] / 1e9,
        computed_over_formula=measured.flops["counted"] / measured.flops["formula"],
        mfu=measured.flops["model"] / cpu_seconds / peak,
    )


def measure(sides: Sequence[Side], rounds: int) -> dict[str, Measured]:
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            turn = side.turn()
            turns[side.name].append(turn)
            click.echo(f"round {number + 1}  {side.name:<16}{turn.seconds:>8.2f} s", err=True)
    memory = {side.name: side.memory() for side in sides}  # before counting, which takes more
    return {side.name: Measured(turns=turns[side.name], memory=memory[side.name], flops=side.flops()) for side in sides}


def table(found: Sequence[Comparison]) -> str:
    columns = ("CPU s", "clock s", "memory MiB", "GFLOP", "computed", "/formula", "MFU")
    lines = []
    for each in found:
        lines += [
            f"{each.name}: {each.ratio:.2f} x ({min(each.ratios):.2f}-{max(each.ratios):.2f}), "
            f"by the clock {each.clock_ratio:.2f} x",
            " " * 18 + "".join(f"{column:>11}" for column in columns),
        ]
        lines += [
            f"  {row.side:<16}{row.cpu_seconds:>11.2f}{row.seconds:>11.2f}{row.memory:>11.0f}"
            f"{row.model_gflop:>11.1f}{row.computed_gflop:>11.1f}{row.computed_over_formula:>11.3f}{row.mfu:>11.0%}"
            for row in each.results
        ]
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", type=click.Choice(["block", "step"]), help="One of the comparisons. Default: both.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--sequence", default=2048, show_default=True, type=click.IntRange(16), help="Tokens in a step.")
@click.option("--experts", default=16, show_default=True, type=click.IntRange(2))
@click.option(
    "--block-hidden", default=256, show_default=True, type=click.IntRange(64), help="Hidden size of the block."
)
@click.option("--step-hidden", default=512, show_default=True, type=click.IntRange(64), help="Of the whole model.")
@click.option("--layers", default=4, show_default=True, type=click.IntRange(1), help="Of the whole model.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(  # noqa: PLR0913 - one parameter an option
    *,
    only: str | None,
    rounds: int,
    sequence: int,
    experts: int,
    block_hidden: int,
    step_hidden: int,
    layers: int,
    as_json: bool,
) -> None:
    """Measure training on this machine: the block of experts, and a whole step."""
    os.environ["OMP_NUM_THREADS"] = "1"  # threads that wait for each other would measure the machine's other work
    found = []
    differences: dict[str, float] = {}
    if only != "step":
        sizes = {"tokens": sequence, "experts": experts, "hidden": block_hidden}
        with Side("index dispatch", **sizes) as index, Side("dense dispatch", **sizes) as dense:
            found.append(compare("block, dense dispatch over index dispatch", measure([index, dense], rounds)))
            differences = index.difference()
    if only != "block":
        sizes = {"tokens": sequence, "experts": experts, "hidden": step_hidden, "layers": layers}
        with Side("dense model", **sizes) as plain, Side("hunyuan", **sizes) as hunyuan:
            found.append(compare("step, hunyuan over dense model", measure([plain, hunyuan], rounds)))
    published = PUBLISHED.dense_dispatch() / PUBLISHED.index_dispatch()
    if as_json:
        comparison = [asdict(each) for each in found]
        click.echo(
            json.dumps({"comparison": comparison, "difference": differences, "published_flops_ratio": published})
        )
        return
    click.echo(table(found))
    if differences:
        click.echo("Both formulations' results differ by, relative to the largest entry:")
        click.echo("".join(f"  {name} {value:.1e}\n" for name, value in differences.items()), nl=False)
        click.echo(
            f"At Hunyuan-Large's own size, dense dispatch computes {published:.1f} times as much as index dispatch."
        )


if __name__ == "__main__":
    main()
