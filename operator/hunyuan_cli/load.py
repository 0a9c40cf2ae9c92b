"""Load on an OpenAI endpoint, and what it measures.

Closed loop: a number of streams, each of which asks again when its answer is complete; shows throughput. Open loop:
requests arrive as a Poisson process whatever the server does; shows the latency that users get at that rate.

TTFT is from the request to the first token; ITL is between two arrivals of text in a stream (an arrival can carry more
than one token when the client is slower than the server); E2E is the whole answer.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hunyuan_cli.endpoint import Endpoint, EndpointError

WORDS = ("river", "mountain", "paper", "winter", "garden", "bridge", "silver", "forest", "window", "island", "letter")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Seconds, from the request. ``failure`` is empty when the answer came whole."""

    first: float = 0
    gaps: Sequence[float] = ()
    total: float = 0
    tokens: int = 0
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run. The latencies are None when nothing came that has one."""

    requests: int
    failed: int
    failures: Sequence[str]
    """Each different one once."""
    tokens: int
    seconds: float
    tokens_per_second: float
    ttft_ms: Percentiles | None
    itl_ms: Percentiles | None
    e2e_ms: Percentiles | None


Ask = Callable[[int], Awaitable[Answer]]
"""Send the request of this number."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What every request of a run has in common; its words are drawn by ``seed`` and the request's number."""

    model: str = ""
    """Empty: the first that the endpoint serves."""
    max_tokens: int
    words: int
    seed: int
    ignore_eos: bool = True
    """So that every answer has ``max_tokens`` tokens; vLLM's own addition to the API."""

    def body(self, number: int, model: str) -> dict[str, Any]:
        draw = random.Random(f"{self.seed}/{number}")  # noqa: S311 - words, not secrets
        text = " ".join([str(number), *draw.choices(WORDS, k=self.words)])
        return {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream_options": {"include_usage": True},
            **({"ignore_eos": True} if self.ignore_eos else {}),
        }


async def ask(endpoint: Endpoint, body: dict[str, Any]) -> Answer:
    """One streamed chat, timed. The events are parsed only where they must be: that time would be the client's."""
    began = time.perf_counter()
    tokens, arrivals = 0, []
    try:
        async for event in endpoint.chat(body):
            if b'"role":"assistant"' in event:  # opens the message, holds no text
                continue
            if b'"choices":[]' in event:
                tokens = int((json.loads(event).get("usage") or {}).get("completion_tokens", 0))
            else:
                arrivals.append(time.perf_counter() - began)
    except EndpointError as error:
        return Answer(failure=str(error))
    first = arrivals[0] if arrivals else 0.0
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    return Answer(first=first, gaps=gaps, total=time.perf_counter() - began, tokens=tokens or len(arrivals))


async def closed_loop(ask: Ask, streams: int, requests: int) -> Summary:
    numbers = iter(range(requests))  # shared by the streams: each number is asked once

    async def stream() -> list[Answer]:
        return [await ask(number) for number in numbers]

    began = time.perf_counter()
    answered = await asyncio.gather(*(stream() for _ in range(streams)))
    return summary([answer for answers in answered for answer in answers], time.perf_counter() - began)


async def open_loop(ask: Ask, rate: float, requests: int, seed: int) -> Summary:
    """``rate`` requests a second on average."""
    draw = random.Random(seed)  # noqa: S311 - arrivals, not secrets
    began = due = time.perf_counter()
    asked = []
    for number in range(requests):
        due += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked.append(asyncio.create_task(_late(ask(number), due)))
    return summary(await asyncio.gather(*asked), time.perf_counter() - began)


async def _late(answer: Awaitable[Answer], due: float) -> Answer:
    """Counted from when the request was due: else a client that falls behind would hide what users wait."""
    late = time.perf_counter() - due
    came = await answer
    if came.failure:
        return came
    return Answer(first=came.first + late, gaps=came.gaps, total=came.total + late, tokens=came.tokens)


def summary(answers: Sequence[Answer], seconds: float) -> Summary:
    whole = [answer for answer in answers if not answer.failure]
    tokens = sum(answer.tokens for answer in whole)
    return Summary(
        requests=len(answers),
        failed=len(answers) - len(whole),
        failures=sorted({answer.failure for answer in answers if answer.failure}),
        tokens=tokens,
        seconds=round(seconds, 3),
        tokens_per_second=round(tokens / seconds, 1),
        ttft_ms=percentiles([answer.first for answer in whole]),
        itl_ms=percentiles([gap for answer in whole for gap in answer.gaps]),
        e2e_ms=percentiles([answer.total for answer in whole]),
    )


def percentiles(seconds: Sequence[float]) -> Percentiles | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    p50, p90, p99 = (round(1000 * quantile(ordered, q), 2) for q in (0.5, 0.9, 0.99))
    return Percentiles(p50=p50, p90=p90, p99=p99)


def quantile(ordered: Sequence[float], q: float) -> float:
    """Between the two nearest values, in proportion (numpy's default)."""
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
