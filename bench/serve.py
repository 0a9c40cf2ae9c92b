#!/usr/bin/env python3
"""The front door against bare vLLM, on this machine and in one run: ``python bench/serve.py [--json] [--plots DIR]``.

Both serve the same model (the tiny one by default) with the same engine arguments in the same environment, and get the
same requests. Bare is vLLM's own API server with its own choice of executor; ours is ``hunyuan_runtime.serve`` with
Ray, Ray Serve and everything else that a leader's pod runs.

The machine's noise is met by pairs: both servers are up, and under each load one is measured and then the other, a few
seconds each, every second pair in the other order. Whichever isn't measured is frozen (SIGSTOP), so that it takes
nothing from the other; what ours takes besides answering is therefore in its own figures, and only there. A start has
its own luck (where its memory lies, on which core what runs), so there are several, and a pair's ratio counts, not a
server's figure. CPU seconds for a thousand tokens tell the cost without the noise.

For a closed or an open loop on any endpoint there is ``hunyuan bench``, which is the same client.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import psutil
from comparison import Block, compare, table
from hunyuan_cli.bench import Run, measure, question_options
from hunyuan_cli.load import Question
from servers import Server, bare, cpu_seconds, frozen, ours, serve_config

from hunyuan_runtime.tiny import make_tiny_model

IDLE = 5
"""Seconds for which a server is watched while it has nothing to do."""
SPIN = 2
"""Seconds after which vLLM's processes have stopped to wait for more work in a loop."""
SETTLE = 1
"""Seconds after a server has been let go on: timers that ran out meanwhile have done their work then."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    servers: tuple[Server, Server]
    question: Question
    runs: Sequence[Run]
    starts: int
    rounds: int


def blocks_of(plan: Plan, logs: Path) -> Iterator[Block]:
    for start in range(plan.starts):
        with ExitStack() as both:
            up = {each.name: both.enter_context(started(plan, each, logs)) for each in plan.servers}
            for number in range(plan.rounds):
                for place, run in enumerate(plan.runs):
                    first = (start + number + place) % 2
                    for server in (plan.servers[first], plan.servers[1 - first]):
                        [other] = (process for name, process in up.items() if name != server.name)
                        with frozen(other):
                            time.sleep(SETTLE)
                            yield block(plan, server, up[server.name], Turn(start=start, round=number, run=run))


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A load in a round: what the two blocks of a pair have in common."""

    start: int
    round: int
    run: Run


def block(plan: Plan, server: Server, process: psutil.Process, turn: Turn) -> Block:
    """The same prompts for both servers, and new ones for every turn: no prefix cache helps."""
    turns = (turn.start * plan.rounds + turn.round) * len(plan.runs) + plan.runs.index(turn.run)
    question = replace(plan.question, seed=plan.question.seed + 1000 * turns)
    before = cpu_seconds(process)
    [summary] = asyncio.run(measure(server.url, "", [turn.run], question))
    used = cpu_seconds(process) - before
    if summary.failed:
        raise click.ClickException(f"{server.name}: {summary.failures[0]}")
    found = Block(server=server.name, **vars(turn), cpu_seconds=round(used, 2), summary=summary)
    click.echo(
        f"start {turn.start} round {turn.round}  {server.name:<5} {turn.run.title:<16}"
        f"{summary.tokens_per_second:>9.1f} tok/s{found.cpu_per_1000:>8.2f} CPU s/1000",
        err=True,
    )
    return found


@contextmanager
def started(plan: Plan, server: Server, logs: Path) -> Iterator[psutil.Process]:
    """Up, warm, and its use of the processor while it is idle told."""
    with server.running(logs / f"{server.name}.log") as process:
        warm_up = Run(streams=32, requests=64)
        asyncio.run(measure(server.url, "", [warm_up], plan.question))
        time.sleep(SPIN)
        before, began = cpu_seconds(process), time.monotonic()
        time.sleep(IDLE)
        share = (cpu_seconds(process) - before) / (time.monotonic() - began)
        click.echo(f"{server.name} is up; idle it takes {100 * share:.1f} % of a core", err=True)
        yield process


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
@click.option("--starts", default=3, show_default=True, type=click.IntRange(1), help="Of both servers.")
@click.option("--rounds", default=4, show_default=True, type=click.IntRange(1), help="Pairs of a load in each start.")
@click.option("--requests", default=32, show_default=True, type=click.IntRange(1), help="At least, of each block.")
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="Folder. Default: the tiny model.")
@click.option("--max-num-seqs", default=64, show_default=True, type=click.IntRange(1))
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), help="Folder for the servers' logs.")
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Folder for pictures of the result.")
@question_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(  # noqa: PLR0913 - one parameter an option
    *,
    streams: tuple[int, ...],
    rate: tuple[float, ...],
    starts: int,
    rounds: int,
    requests: int,
    model: Path | None,
    max_num_seqs: int,
    logs: Path | None,
    plots: Path | None,
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
        with redirect_stdout(sys.stderr):  # where it has to be made, libraries say things that are no JSON
            model = model or make_tiny_model(Path.home() / ".cache/hunyuan-operator/tiny/bench").path
        config = serve_config(model, max_num_seqs=max_num_seqs)
        plan = Plan(
            servers=(bare(config, folder), ours(config, folder)),
            question=Question(max_tokens=max_tokens, words=prompt_words, seed=seed),
            runs=loads(streams, rate, requests),
            starts=starts,
            rounds=rounds,
        )
        blocks = list(blocks_of(plan, logs))
    found = [compare(blocks, each) for each in plan.runs]
    if plots is not None:
        from plots import draw  # noqa: PLC0415 - needs matplotlib

        draw(found, plots)
    result = {
        "starts": starts,
        "comparison": [asdict(each) for each in found],
        "blocks": [asdict(each) for each in blocks],
    }
    click.echo(json.dumps(result) if as_json else table(found))


if __name__ == "__main__":
    main()
