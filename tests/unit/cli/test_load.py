"""The statistics of a load: what is counted, from when, and what a percentile is."""

import asyncio
import time

import pytest
from hunyuan_cli import load
from hunyuan_cli.bench import Run
from hunyuan_cli.endpoint import Endpoint
from hunyuan_cli.load import Answer, Percentiles, Question

from tests.unit.cli.played_endpoint import PlayedEndpoint


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [([7], 0.99, 7), ([1, 2], 0.5, 1.5), ([1, 2, 3, 4, 5], 0.5, 3), ([0, 10], 0.9, 9), ([1, 2, 3, 4, 5], 1, 5)],
)
def test_a_quantile_lies_between_its_neighbours_in_proportion(values: list[float], q: float, expected: float) -> None:
    assert load.quantile(values, q) == pytest.approx(expected)


def test_a_summary_counts_whole_answers_only_and_each_failure_once() -> None:
    answers = [
        Answer(first=0.1, gaps=[0.01, 0.03], total=1, tokens=3),
        Answer(first=0.3, gaps=[0.02], total=2, tokens=2),
        Answer(failure="refused"),
        Answer(failure="refused"),
    ]
    found = load.summary(answers, seconds=2)
    assert (found.requests, found.failed, found.failures) == (4, 2, ["refused"])
    assert (found.tokens, found.tokens_per_second) == (5, 2.5)
    assert found.ttft_ms == Percentiles(p50=200, p90=280, p99=298)
    assert found.itl_ms == Percentiles(p50=20, p90=28, p99=29.8)
    assert found.e2e_ms == Percentiles(p50=1500, p90=1900, p99=1990)


def test_nothing_that_came_has_no_latency() -> None:
    found = load.summary([Answer(failure="refused")], seconds=1)
    assert (found.ttft_ms, found.itl_ms, found.e2e_ms, found.tokens_per_second) == (None, None, None, 0)


async def test_a_closed_loop_keeps_its_streams_busy_and_asks_each_number_once() -> None:
    asked: list[int] = []
    running = most = 0

    async def ask(number: int) -> Answer:
        nonlocal running, most
        asked.append(number)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Answer(first=0.1, total=0.2, tokens=4)

    found = await load.closed_loop(ask, streams=3, requests=10)
    assert sorted(asked) == list(range(10))
    assert (most, found.requests, found.tokens) == (3, 10, 40)


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    answer = asyncio.Event()
    asked = 0

    async def ask(_: int) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 5:  # none has been answered yet
            answer.set()
        await answer.wait()
        return Answer(first=0.1, total=0.2, tokens=1)

    found = await asyncio.wait_for(load.open_loop(ask, rate=1000, requests=5, seed=1), 10)
    assert (found.requests, found.failed) == (5, 0)


async def test_a_client_that_is_late_hides_nothing() -> None:
    late = await load._late(_answered(Answer(first=0.1, total=0.2, tokens=1)), due=time.perf_counter() - 3)
    assert late.first >= 3.1
    assert late.total >= 3.2


async def _answered(answer: Answer) -> Answer:
    return answer


def test_prompts_differ_by_number_and_come_again_with_the_seed() -> None:
    question = Question(max_tokens=5, words=8, seed=1)
    texts = [question.body(number, "tiny")["messages"][0]["content"] for number in range(50)]
    assert len({text.split()[0] for text in texts}) == 50, "no prompt may begin like another: the cache would help"
    assert texts[7] == question.body(7, "tiny")["messages"][0]["content"]


@pytest.mark.parametrize(
    ("run", "count", "title"),
    [
        (Run(streams=16), 64, "16 streams"),
        (Run(streams=16, requests=5), 5, "16 streams"),
        (Run(rate=0.5), 15, "0.5 requests/s"),
    ],
)
def test_a_run_without_a_number_of_requests_has_a_sensible_one(run: Run, count: int, title: str) -> None:
    assert (run.count, run.title) == (count, title)


async def test_an_answer_is_timed_by_its_text() -> None:
    played = PlayedEndpoint()
    with played.running():
        async with Endpoint(played.url) as endpoint:
            answer = await load.ask(endpoint, Question(max_tokens=3, words=1, seed=0).body(0, "tiny"))
    assert (answer.failure, answer.tokens, len(answer.gaps)) == ("", 3, 2)
    assert 0 < answer.first <= answer.total


@pytest.mark.parametrize(
    ("played", "words"),
    [
        (PlayedEndpoint(breaks_at=2), "the connection broke"),
        (PlayedEndpoint(error_at=1), "the answer broke off: the engine died"),
    ],
    ids=["cut", "error"],
)
async def test_half_an_answer_is_a_failure(played: PlayedEndpoint, words: str) -> None:
    with played.running():
        async with Endpoint(played.url) as endpoint:
            answer = await load.ask(endpoint, Question(max_tokens=3, words=1, seed=0).body(0, "tiny"))
    assert words in answer.failure
