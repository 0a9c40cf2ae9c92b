"""What the blocks of bench/serve.py say: ours over bare under each load, with how sure that is. Pure."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hunyuan_cli.bench import Run
from hunyuan_cli.load import Percentiles, Summary, quantile

SERVERS = ("bare", "ours")
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Block:
    """One server under one load for some seconds."""

    server: str
    start: int
    """Both servers were started so many times before, and once for this block."""
    round: int
    run: Run
    cpu_seconds: float
    """Of the server's processes."""
    summary: Summary

    @property
    def cpu_per_1000(self) -> float:
        return 1000 * self.cpu_seconds / self.summary.tokens


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both servers under one load."""

    run: str
    of: Literal["tokens/s", "E2E p50"]
    """What the ratio compares. In an open loop it is an answer's time: how many tokens come is the arrivals' choice."""
    ratio: float
    """Ours to bare: the median of the pairs of blocks, each of which lie next to one another in time."""
    interval: tuple[float, float]
    """95 %: as the median scatters when starts, and pairs within a start, are drawn anew from those that there are."""
    by_start: Sequence[float]
    """The median of each start's pairs."""
    pairs: int
    tokens_per_second: dict[str, float]
    cpu_seconds_per_1000_tokens: dict[str, float]
    ttft_ms: dict[str, Percentiles]
    itl_ms: dict[str, Percentiles]
    e2e_ms: dict[str, Percentiles]


def compare(blocks: Sequence[Block], run: Run) -> Comparison:
    """By server, each number is the median of its blocks."""
    of = {name: [each for each in blocks if (each.server, each.run) == (name, run)] for name in SERVERS}
    pairs = pair_ratios(of["bare"], of["ours"])

    def medians(value: Callable[[Block], float]) -> dict[str, float]:
        return {name: round(statistics.median(map(value, of[name])), 2) for name in SERVERS}

    def latencies(name: Literal["ttft_ms", "itl_ms", "e2e_ms"]) -> dict[str, Percentiles]:
        return {server: _typical([getattr(each.summary, name) for each in of[server]]) for server in SERVERS}

    return Comparison(
        run=run.title,
        of="tokens/s" if run.streams else "E2E p50",
        ratio=round(statistics.median(ratio for start in pairs for ratio in start), 3),
        interval=interval(pairs),
        by_start=[round(statistics.median(start), 3) for start in pairs],
        pairs=len(of["ours"]),
        tokens_per_second=medians(lambda each: each.summary.tokens_per_second),
        cpu_seconds_per_1000_tokens=medians(lambda each: each.cpu_per_1000),
        ttft_ms=latencies("ttft_ms"),
        itl_ms=latencies("itl_ms"),
        e2e_ms=latencies("e2e_ms"),
    )


def pair_ratios(bare: Sequence[Block], ours: Sequence[Block]) -> list[list[float]]:
    """By start, and in it by round."""
    found: dict[int, list[float]] = {}
    theirs = {(block.start, block.round): _compared(block) for block in bare}
    for block in sorted(ours, key=lambda block: (block.start, block.round)):
        found.setdefault(block.start, []).append(_compared(block) / theirs[block.start, block.round])
    return list(found.values())


def interval(by_start: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """A bootstrap of two levels: the pairs of a start have its luck in common, so they are no independent draws."""
    draw = random.Random(seed)  # noqa: S311 - resampling, not secrets
    medians = sorted(
        statistics.median(
            [ratio for start in draw.choices(by_start, k=len(by_start)) for ratio in _redrawn(draw, start)]
        )
        for _ in range(RESAMPLES)
    )
    return round(quantile(medians, 0.025), 3), round(quantile(medians, 0.975), 3)


def _redrawn(draw: random.Random, ratios: Sequence[float]) -> list[float]:
    return draw.choices(ratios, k=len(ratios))


def _compared(block: Block) -> float:
    if block.run.streams:
        return block.summary.tokens_per_second
    return block.summary.e2e_ms.p50 if block.summary.e2e_ms else 0.0


def _typical(found: Sequence[Percentiles | None]) -> Percentiles:
    """Medians over the blocks. A block without any has had answers of a single token, which have no gaps."""
    there = [each for each in found if each] or [Percentiles(p50=0, p90=0, p99=0)]
    p50, p90, p99 = (
        round(statistics.median(getattr(each, name) for each in there), 2) for name in ("p50", "p90", "p99")
    )
    return Percentiles(p50=p50, p90=p90, p99=p99)


def table(found: Sequence[Comparison]) -> str:
    def pair(values: dict[str, float]) -> str:
        return " / ".join(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in values.values())

    def latency(values: dict[str, Percentiles]) -> str:
        return " / ".join(f"{each.p50:.0f} {each.p90:.0f} {each.p99:.0f}" for each in values.values())

    ratios = [
        f"{each.run:<16}{each.of:>9}{each.ratio:>7.3f}  {'{:.3f}-{:.3f}'.format(*each.interval):<13}{each.pairs:>5}  "
        f"{' '.join(f'{start:.3f}' for start in each.by_start):<30}"
        f"{pair(each.tokens_per_second):>16}{pair(each.cpu_seconds_per_1000_tokens):>14}"
        for each in found
    ]
    latencies = [
        f"{each.run:<16}{latency(each.ttft_ms):>30}{latency(each.itl_ms):>28}{latency(each.e2e_ms):>36}"
        for each in found
    ]
    head = f"{'ours / bare':<16}{'of':>9}{'ratio':>7}  {'95 %':<13}{'pairs':>5}  {'by start':<30}"
    return "\n".join(
        [
            f"{head}{'tok/s':>16}{'CPU s/1000':>14}",
            *ratios,
            "",
            f"{'bare / ours, ms':<16}{'TTFT 50 90 99':>30}{'ITL 50 90 99':>28}{'E2E 50 90 99':>36}",
            *latencies,
        ]
    )
