"""When does the engine stand still? Judged by what it answers, against a small HTTP server that plays it."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hunyuan_runtime.serve.canary import Api, Canary, Pace
from hunyuan_runtime.serve.verdict import Standstill

FAST = Pace(every=0.1, answer=0.3, believed=0)
PATIENT = Pace(every=0.1, answer=0.3, believed=60)


NUMBERS = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:request_success_total",
)


class Engine:
    """Answers completions with ``status`` after ``delay``. With every look at its numbers, of which only its steps
    move any, those in ``moves`` grow.
    """

    def __init__(self) -> None:
        self.status, self.delay, self.health = 200, 0.0, 200
        self.moves: set[str] = set()
        self.numbers = dict.fromkeys(NUMBERS, 0)
        self.asked: list[Any] = []
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                engine.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                time.sleep(engine.delay)
                self.reply(engine.status, "{}")

            def do_GET(self) -> None:
                if self.path == "/health":
                    self.reply(engine.health, "")
                    return
                for name in engine.moves:
                    engine.numbers[name] += 1
                lines = [f'{name}{{engine="0",model_name="m 1"}} {n}.0\n' for name, n in engine.numbers.items()]
                self.reply(200, "# HELP vllm:generation_tokens_total Number\n" + "".join(lines))

            def reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that gave up
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.server.server_port}", "tiny")


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.server.shutdown()
    engine.server.server_close()


def looked(engine: Engine, times: int = 1) -> Standstill:
    canary = Canary(engine.api, first_deadline=1, pace=FAST)
    for _ in range(times):
        canary.look()
    return canary.standstill


def test_an_engine_that_answers_moves_and_was_asked_for_one_token(engine: Engine) -> None:
    assert looked(engine) == Standstill()
    assert engine.asked == [{"model": "tiny", "prompt": "1", "max_tokens": 1, "temperature": 0}]


def test_an_engine_that_hangs_stands_still_since_it_was_first_asked(engine: Engine) -> None:
    engine.delay = 5
    began = time.monotonic()
    still = looked(engine, times=3)
    assert 0.9 <= still.seconds <= time.monotonic() - began
    assert (still.refused, still.words) == (False, "timed out")


@pytest.mark.parametrize("number", NUMBERS[:4])
def test_a_busy_engine_is_not_even_asked(engine: Engine, number: str) -> None:
    """A prefill of many chunks writes no token for long, but each chunk takes more of the cache."""
    engine.delay, engine.moves = 5, {number}
    assert looked(engine, times=3) == Standstill()
    assert len(engine.asked) == 1, "only at first, when nothing was known yet"


def test_what_moves_without_the_engines_steps_is_no_life(engine: Engine) -> None:
    """Such as requests that are given up by those who wait for them."""
    engine.delay, engine.moves = 5, {"vllm:request_success_total"}
    assert looked(engine, times=2).seconds > 0.5


def test_an_idle_engine_that_has_answered_is_not_asked_again_and_again(engine: Engine) -> None:
    canary = Canary(engine.api, first_deadline=1, pace=PATIENT)
    for _ in range(3):
        canary.look()
    assert len(engine.asked) == 1


def test_an_answer_is_believed_for_a_while_only(engine: Engine) -> None:
    canary = Canary(engine.api, first_deadline=1, pace=replace(PATIENT, believed=0.2))
    canary.look()
    engine.delay = 5
    canary.look()
    assert canary.standstill == Standstill()
    time.sleep(0.2)
    canary.look()
    assert canary.standstill.seconds > 0


@pytest.mark.parametrize("cause", ["a rank that is stopped or silent", "the engine's own health"])
def test_a_doubt_makes_it_ask_at_once(engine: Engine, cause: str) -> None:
    canary = Canary(engine.api, first_deadline=1, pace=PATIENT)
    canary.look()
    engine.delay = 5
    if cause == "the engine's own health":
        engine.health = 503
    else:
        canary.doubt()
    canary.look()
    assert canary.standstill.seconds > 0


def test_a_doubt_ends_the_pause_between_two_looks(engine: Engine) -> None:
    canary = Canary(engine.api, first_deadline=1, pace=replace(PATIENT, every=60))
    canary.start()
    _wait(lambda: canary.alive)
    canary.doubt()
    _wait(lambda: len(engine.asked) == 2)
    time.sleep(0.3)
    assert len(engine.asked) == 2, "one doubt, one question"


def test_an_engine_that_moves_again_is_forgiven(engine: Engine) -> None:
    canary = Canary(engine.api, first_deadline=1, pace=FAST)
    engine.delay = 5
    canary.look()
    assert canary.standstill.seconds > 0
    engine.moves = {"vllm:kv_cache_usage_perc"}
    canary.look()
    assert canary.standstill == Standstill()


def test_an_engine_that_refuses_is_told_from_a_silent_one(engine: Engine) -> None:
    engine.status = 500
    still = looked(engine)
    assert (still.refused, still.words) == (True, "HTTP 500: {}")


def test_a_closed_port_refuses_too() -> None:
    canary = Canary(Api("http://127.0.0.1:9", "tiny"), first_deadline=1, pace=FAST)
    canary.look()
    assert canary.standstill.refused
    assert "refused" in canary.standstill.words


def test_alive_follows_the_first_answer(engine: Engine) -> None:
    canary = Canary(engine.api, first_deadline=5, pace=FAST)
    assert not canary.alive
    canary.start()
    _wait(lambda: canary.alive)
    assert canary.failure == ""
    engine.status = 503
    _wait(lambda: canary.standstill.seconds > 0)


def test_an_engine_that_never_answers_never_counts_as_alive(engine: Engine) -> None:
    engine.delay = 5
    canary = Canary(engine.api, first_deadline=0.2, pace=FAST)
    canary.start()
    _wait(lambda: bool(canary.failure))
    assert not canary.alive


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
