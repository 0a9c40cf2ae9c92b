#!/usr/bin/env python3
"""The front door against bare vLLM, on this machine and in one run: ``python bench/serve.py [--json]``.

Both serve the same model (the tiny one by default) with the same engine arguments in the same environment, and get the
same requests. Bare is vLLM's own API server with its own choice of executor; ours is ``hunyuan_runtime.serve`` with
Ray, Ray Serve and everything else that a leader's pod runs.

The machine's noise is met by alternation: each round measures both, every second one in the other order, and the result
is the median of the rounds' ratios with the smallest and the largest. ``alone`` starts each server anew for its turn;
``together`` keeps both running, which is quicker and closer in time, but lets the bare server pay for what ours uses
while it is idle; that is measured and printed. CPU seconds for a thousand tokens tell the cost without the noise.

For a closed or an open loop on any endpoint there is ``hunyuan bench``, which is the same client.
"""

import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psutil
from hunyuan_cli.bench import Run, measure, question_options
from hunyuan_cli.load import Question, Summary
from servers import Server, bare, cpu_seconds, ours, serve_config

from hunyuan_runtime.tiny import make_tiny_model

IDLE = 5
"""Seconds for which a server is watched while it has nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One server under one load."""

    server: str
    round: int
    run: Run
    cpu_seconds: float
    """Of the server's processes."""
    summary: Summary

    @property
    def cpu_per_1000(self) -> float:
        return 1000 * self.cpu_seconds / self.summary.tokens


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    servers: tuple[Server, Server]
    question: Question
    runs: Sequence[Run]
    rounds: int
    together: bool


def block(plan: Plan, server: Server, process: psutil.Process, number: int, run: Run) -> Block:
    """The same prompts for both servers, and new ones for every round: no prefix cache helps."""
    question = Question(**asdict(plan.question) | {"seed": plan.question.seed + 1000 * number + plan.runs.index(run)})
    before = cpu_seconds(process)
    [summary] = asyncio.run(measure(server.url, "", [run], question))
    used = cpu_seconds(process) - before
    if summary.failed:
        raise click.ClickException(f"{server.name}: {summary.failures[0]}")
    found = Block(server=server.name, round=number, run=run, cpu_seconds=round(used, 2), summary=summary)
    click.echo(
        f"round {number}  {server.name:<5} {run.title:<16}{summary.tokens_per_second:>9.1f} tok/s"
        f"{found.cpu_per_1000:>8.2f} CPU s/1000",
        err=True,
    )
    return found


def blocks_of(plan: Plan, logs: Path) -> Iterator[Block]:
    """``together``: both stay up and take turns. Else each is started for its turn in every round."""
    with ExitStack() as both:
        up = {each.name: both.enter_context(started(plan, each, logs)) for each in plan.servers if plan.together}
        for number in range(1, plan.rounds + 1):
            order = plan.servers if number % 2 else plan.servers[::-1]
            if plan.together:
                for run in plan.runs:
                    for server in order:
                        yield block(plan, server, up[server.name], number, run)
            else:
                for server in order:
                    with started(plan, server, logs) as process:
                        for run in plan.runs:
                            yield block(plan, server, process, number, run)


@contextmanager
def started(plan: Plan, server: Server, logs: Path) -> Iterator[psutil.Process]:
    """Up, warm, and its use of the processor while it is idle told."""
    with server.running(logs / f"{server.name}.log") as process:
        warm_up = Run(streams=32, requests=64)
        asyncio.run(measure(server.url, "", [warm_up], plan.question))
        before, began = cpu_seconds(process), time.monotonic()
        time.sleep(IDLE)
        share = (cpu_seconds(process) - before) / (time.monotonic() - began)
        click.echo(f"{server.name} is up; idle it takes {100 * share:.1f} % of a core", err=True)
        yield process


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ours over bare under one load: medians over the rounds."""

    run: str
    tokens_per_second: dict[str, float]
    ttft_p50_ms: dict[str, float]
    itl_p50_ms: dict[str, float]
    cpu_seconds_per_1000_tokens: dict[str, float]
    ratio: float
    ratios: Sequence[float]
    """Of each round."""


def compare(plan: Plan, blocks: Sequence[Block], run: Run) -> Comparison:
    names = [server.name for server in plan.servers]
    of = {name: [each for each in blocks if (each.server, each.run) == (name, run)] for name in names}
    ratios = [
        ours.summary.tokens_per_second / bare.summary.tokens_per_second
        for bare, ours in zip(*(sorted(of[name], key=lambda each: each.round) for name in names), strict=True)
    ]

    def medians(value: Callable[[Block], float]) -> dict[str, float]:
        return {name: round(statistics.median(map(value, of[name])), 2) for name in names}

    return Comparison(
        run=run.title,
        tokens_per_second=medians(lambda each: each.summary.tokens_per_second),
        ttft_p50_ms=medians(lambda each: each.summary.ttft_ms.p50 if each.summary.ttft_ms else 0),
        itl_p50_ms=medians(lambda each: each.summary.itl_ms.p50 if each.summary.itl_ms else 0),
        cpu_seconds_per_1000_tokens=medians(lambda each: 1000 * each.cpu_seconds / each.summary.tokens),
        ratio=round(statistics.median(ratios), 3),
        ratios=[round(ratio, 3) for ratio in ratios],
    )


def table(found: Sequence[Comparison]) -> str:
    def pair(values: dict[str, float]) -> str:
        return " / ".join(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in values.values())

    head = f"{'':<16}{'ratio (rounds)':<24}{'tok/s bare/ours':>18}{'TTFT ms':>14}{'ITL ms':>16}{'CPU s/1000':>15}"
    rows = [
        f"{each.run:<16}{f'{each.ratio:.3f} ({min(each.ratios):.3f}-{max(each.ratios):.3f})':<24}"
        f"{pair(each.tokens_per_second):>18}{pair(each.ttft_p50_ms):>14}{pair(each.itl_p50_ms):>16}"
        f"{pair(each.cpu_seconds_per_1000_tokens):>15}"
        for each in found
    ]
    return "\n".join([head, *rows])


def loads(streams: Sequence[int], rates: Sequence[float], requests: int) -> list[Run]:
    closed = streams or (() if rates else (8, 16, 64))
    return [
        *(Run(streams=each, requests=max(requests, 2 * each)) for each in closed),
        *(Run(rate=each, requests=requests) for each in rates),
    ]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--streams", multiple=True, type=click.IntRange(1), help="Repeatable. Default: 8, 16 and 64.")
@click.option(
    "--rate", multiple=True, type=click.FloatRange(0, min_open=True), help="Open loop, requests/s. Repeatable."
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--requests", default=128, show_default=True, type=click.IntRange(1), help="At least, of each block.")
@click.option("--mode", default="alone", show_default=True, type=click.Choice(["alone", "together"]))
@click.option("--bare-executor", default="", help="vLLM's --distributed-executor-backend. Default: vLLM's own choice.")
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="Folder. Default: the tiny model.")
@click.option("--max-num-seqs", default=64, show_default=True, type=click.IntRange(1))
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), help="Folder for the servers' logs.")
@question_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(  # noqa: PLR0913 - one parameter an option
    *,
    streams: tuple[int, ...],
    rate: tuple[float, ...],
    rounds: int,
    requests: int,
    mode: str,
    bare_executor: str,
    model: Path | None,
    max_num_seqs: int,
    logs: Path | None,
    max_tokens: int,
    prompt_words: int,
    seed: int,
    as_json: bool,
) -> None:
    """Measure the front door against bare vLLM on this machine, both in this run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with the bench, however that ends
    with tempfile.TemporaryDirectory(prefix="hy-") as scratch:
        folder = Path(scratch)
        logs = logs or folder
        logs.mkdir(parents=True, exist_ok=True)
        model = model or make_tiny_model(Path.home() / ".cache/hunyuan-operator/tiny/bench").path
        config = serve_config(model, max_num_seqs=max_num_seqs)
        plan = Plan(
            servers=(bare(config, folder, bare_executor), ours(config, folder)),
            question=Question(max_tokens=max_tokens, words=prompt_words, seed=seed),
            runs=loads(streams, rate, requests),
            rounds=rounds,
            together=mode == "together",
        )
        blocks = list(blocks_of(plan, logs))
    found = [compare(plan, blocks, each) for each in plan.runs]
    result = {
        "mode": mode,
        "bare_executor": bare_executor or "default",
        "comparison": [asdict(each) for each in found],
        "blocks": [asdict(each) for each in blocks],
    }
    click.echo(json.dumps(result) if as_json else table(found))


if __name__ == "__main__":
    main()
