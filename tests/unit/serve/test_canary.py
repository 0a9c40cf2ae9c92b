"""When is an engine dead? Judged by what it answers, against a small HTTP server that plays it."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hunyuan_runtime.serve.canary import Api, Canary, Pace, wait_until_idle

FAST = Pace(every=0.1, deadline=0.6, patience=0.4)


class Engine:
    """Answers completions with ``status`` after ``delay``; its counters grow by ``growth`` with every look at them."""

    def __init__(self) -> None:
        self.status, self.delay, self.growth, self.tokens = 200, 0.0, 0, 0
        self.asked: list[Any] = []
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                engine.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                time.sleep(engine.delay)
                self.reply(engine.status, "{}")

            def do_GET(self) -> None:
                engine.tokens += engine.growth
                self.reply(
                    200,
                    "# HELP vllm:generation_tokens_total Number\n"
                    f'vllm:generation_tokens_total{{engine="0",model_name="m 1"}} {engine.tokens}.0\n'
                    'vllm:prompt_tokens_total{engine="0"} 1e+01\n'
                    'vllm:num_requests_running{engine="0"} 2.0\n',
                )

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


def look(engine: Engine) -> str:
    return Canary(engine.api, first_deadline=1, pace=FAST).look()


def test_an_engine_that_answers_lives_and_was_asked_for_one_token(engine: Engine) -> None:
    assert look(engine) == ""
    assert engine.asked == [{"model": "tiny", "prompt": "1", "max_tokens": 1, "temperature": 0}]


def test_an_engine_that_hangs_is_dead_after_the_deadline(engine: Engine) -> None:
    engine.delay = 5
    began = time.monotonic()
    assert "no token for 0.6 s" in look(engine)
    assert time.monotonic() - began < 3


def test_a_busy_engine_lives_while_its_counters_grow(engine: Engine) -> None:
    engine.delay, engine.growth = 5, 1
    assert look(engine) == ""


def test_an_engine_that_refuses_is_dead_when_patience_ends(engine: Engine) -> None:
    engine.status = 500
    assert "no token for 0.4 s: HTTP 500" in look(engine)
    assert len(engine.asked) > 1, "one refusal may pass"


def test_a_closed_port_is_a_dead_engine() -> None:
    assert "refused" in Canary(Api("http://127.0.0.1:9", "tiny"), first_deadline=1, pace=FAST).look()


def test_alive_follows_the_first_answer_and_failure_the_first_silence(engine: Engine) -> None:
    canary = Canary(engine.api, first_deadline=5, pace=FAST)
    assert not canary.alive
    canary.start()
    _wait(lambda: canary.alive)
    assert canary.failure == ""
    engine.status = 503
    _wait(lambda: bool(canary.failure))


def test_an_engine_that_never_answers_never_counts_as_alive(engine: Engine) -> None:
    engine.delay = 5
    canary = Canary(engine.api, first_deadline=0.2, pace=FAST)
    canary.start()
    _wait(lambda: bool(canary.failure))
    assert not canary.alive


def test_counters_are_summed_over_engines_and_names(engine: Engine) -> None:
    engine.tokens = 5
    assert engine.api.tokens() == 15
    assert engine.api.running() == 2


@pytest.mark.parametrize(("counts", "most"), [([0.0], 0.15), ([2.0, 0.0], 0.5)])
def test_draining_ends_with_the_last_request(counts: list[float], most: float) -> None:
    left = list(counts)
    began = time.monotonic()
    wait_until_idle(lambda: left.pop(0), seconds=10)
    assert time.monotonic() - began < most


def test_draining_ends_with_its_time() -> None:
    began = time.monotonic()
    wait_until_idle(lambda: 1.0, seconds=0.3)
    assert 0.3 <= time.monotonic() - began < 1


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
