"""``hunyuan bench``: put load on an endpoint and say what came back."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hunyuan_cli.extras import MissingExtra

if TYPE_CHECKING:
    from hunyuan_cli.load import Percentiles, Question, Summary

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measurement: a closed loop of so many streams, or an open one of so many requests a second."""

    streams: int = 0
    rate: float = 0.0
    requests: int = 0
    """0: four for each stream, or as many as arrive in half a minute."""

    @property
    def count(self) -> int:
        return self.requests or (4 * self.streams if self.streams else max(1, round(30 * self.rate)))

    @property
    def title(self) -> str:
        return f"{self.streams} streams" if self.streams else f"{self.rate:g} requests/s"


def question_options(command: Command) -> Command:
    """The options that say what is asked; :mod:`bench.serve` has them too."""
    for option in (
        click.option("--max-tokens", default=96, show_default=True, type=click.IntRange(1), help="Tokens an answer."),
        click.option("--prompt-words", default=32, show_default=True, type=click.IntRange(0), help="Words a prompt."),
        click.option("--seed", default=0, show_default=True, help="Of the prompts and the arrivals."),
    ):
        command = option(command)
    return command


async def measure(url: str, api_key: str, runs: Sequence[Run], question: "Question") -> "list[Summary]":
    """All runs, one after the other, after a warm-up of two requests. An empty model's name asks the endpoint for it.

    Raises:
        EndpointError: the endpoint can't be used at all; single failures are in the summaries.

    """
    from hunyuan_cli import load  # noqa: PLC0415 - needs aiohttp
    from hunyuan_cli.endpoint import Endpoint, EndpointError  # noqa: PLC0415 - likewise

    async with Endpoint(url, api_key) as endpoint:
        model = question.model or await endpoint.model()
        asked = 0

        async def ask(_: int) -> load.Answer:
            nonlocal asked
            asked += 1  # over all runs, so that no prompt is in the prefix cache from an earlier one
            return await load.ask(endpoint, question.body(asked, model))

        for answer in await asyncio.gather(ask(0), ask(0)):
            if answer.failure:
                raise EndpointError(answer.failure)
        return [
            await load.closed_loop(ask, run.streams, run.count)
            if run.streams
            else await load.open_loop(ask, run.rate, run.count, question.seed)
            for run in runs
        ]


def table(runs: Sequence[Run], summaries: "Sequence[Summary]") -> str:
    def ms(found: "Percentiles | None") -> str:
        return f"{found.p50:>8.1f} {found.p90:>8.1f} {found.p99:>8.1f}" if found else f"{'-':>8} {'-':>8} {'-':>8}"

    head = (
        f"{'':<16}{'requests':>9}{'failed':>8}{'tok/s':>9}   {'TTFT ms 50/90/99':>26}   {'ITL ms':>26}   {'E2E ms':>26}"
    )
    rows = [
        f"{run.title:<16}{found.requests:>9}{found.failed:>8}{found.tokens_per_second:>9.1f}"
        f"   {ms(found.ttft_ms)}   {ms(found.itl_ms)}   {ms(found.e2e_ms)}"
        for run, found in zip(runs, summaries, strict=True)
    ]
    return "\n".join([head, *rows])


@click.command("bench")
@click.argument("url")
@click.option("--streams", multiple=True, type=click.IntRange(1), help="Closed loop; may be repeated. Default: 8.")
@click.option(
    "--rate", multiple=True, type=click.FloatRange(0, min_open=True), help="Open loop, requests/s; repeatable."
)
@click.option("--requests", default=0, help="Of each run. Default: four a stream, or half a minute's.", type=int)
@click.option("--model", default="", help="Default: the first that the endpoint serves.")
@click.option("--api-key", default="", envvar="OPENAI_API_KEY", help="Or the environment's OPENAI_API_KEY.")
@click.option("--ignore-eos/--no-ignore-eos", default=True, help="Answers of full length (vLLM only). Default: yes.")
@question_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(  # noqa: PLR0913 - one parameter an option
    *,
    url: str,
    streams: tuple[int, ...],
    rate: tuple[float, ...],
    requests: int,
    model: str,
    api_key: str,
    max_tokens: int,
    prompt_words: int,
    seed: int,
    ignore_eos: bool,
    as_json: bool,
) -> None:
    """Measure throughput and latency of the OpenAI endpoint at URL.

    Exit code 0: every request was answered. 1: some failed, and stderr says why. 2: the endpoint can't be used.
    """
    try:
        from hunyuan_cli.endpoint import EndpointError  # noqa: PLC0415 - needs aiohttp
        from hunyuan_cli.load import Question  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise MissingExtra(error, "client") from error
    runs = [
        *(Run(streams=each, requests=requests) for each in streams),
        *(Run(rate=r, requests=requests) for r in rate),
    ]
    runs = runs or [Run(streams=8, requests=requests)]
    question = Question(model=model, max_tokens=max_tokens, words=prompt_words, seed=seed, ignore_eos=ignore_eos)
    try:
        summaries = asyncio.run(measure(url, api_key, runs, question))
    except EndpointError as error:
        click.echo(f"hunyuan: {error}", err=True)
        sys.exit(2)
    found = [
        {"run": asdict(run) | {"requests": run.count}, **asdict(it)} for run, it in zip(runs, summaries, strict=True)
    ]
    click.echo(json.dumps({"url": url, "runs": found}) if as_json else table(runs, summaries))
    failures = sorted({failure for it in summaries for failure in it.failures})
    for failure in failures:
        click.echo(f"hunyuan: {failure}", err=True)
    sys.exit(1 if failures else 0)
