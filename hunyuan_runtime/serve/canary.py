"""Does the engine still generate? Its own /health says yes while a rank is gone, so one token is asked for.

A busy engine needs no canary: as long as its token counters grow it lives, and a question would only wait in its queue.
"""

import threading
import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass

from hunyuan_runtime.serve.http_client import FAILURES, fetch

_COUNTERS = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
_RUNNING = "vllm:num_requests_running"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds: between looks, for an answer or any other progress, and for refusals that may pass."""

    every: float = 10
    deadline: float = 60
    patience: float = 15


class Api:
    """The few calls to vLLM's HTTP API that the runtime makes itself."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model

    def generate_one_token(self, timeout: float) -> None:
        """Raise one of FAILURES when no token comes in time."""
        body = {"model": self._model, "prompt": "1", "max_tokens": 1, "temperature": 0}
        fetch(f"{self._url}/v1/completions", timeout=timeout, body=body)

    def tokens(self) -> float:
        """Tokens that the engine has read or written since its start."""
        return self._sum(*_COUNTERS)

    def running(self) -> float:
        return self._sum(_RUNNING)

    def _sum(self, *names: str) -> float:
        lines = fetch(f"{self._url}/metrics", timeout=5).decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names))


class Canary:
    """Looks from its own thread; ``alive`` turns true with the first answer, ``failure`` says why it gave up."""

    def __init__(self, api: Api, first_deadline: float, pace: Pace | None = None) -> None:
        self._api = api
        self._pace = pace or Pace()
        self._first_deadline = first_deadline
        self.alive = False
        self.failure = ""

    def start(self) -> None:
        threading.Thread(target=self._watch, name="canary", daemon=True).start()

    def _watch(self) -> None:
        self.failure = self._first()
        self.alive = not self.failure
        while not self.failure:
            time.sleep(self._pace.every)
            self.failure = self.look()

    def _first(self) -> str:
        try:
            self._api.generate_one_token(timeout=self._first_deadline)
        except FAILURES as error:
            return f"the engine is up, but its first token didn't come: {_words(error)}"
        return ""

    def look(self) -> str:
        """Empty when the engine lives; else why it is thought dead."""
        began, before = time.monotonic(), self._progress()
        while True:
            try:
                self._api.generate_one_token(timeout=min(self._pace.every, self._pace.deadline))
            except FAILURES as error:
                if self._progress() > before:
                    return ""
                limit = self._pace.deadline if _is_timeout(error) else self._pace.patience
                if time.monotonic() - began >= limit:
                    return f"no token for {limit:g} s: {_words(error)}"
                time.sleep(min(1.0, self._pace.every))
            else:
                return ""

    def _progress(self) -> float:
        try:
            return self._api.tokens()
        except FAILURES:
            return 0.0


def wait_until_idle(running: Callable[[], float], seconds: float) -> None:
    """Return when no request runs, or when the time is over, or when nobody can tell."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if running() == 0:
                return
        except FAILURES:
            return
        time.sleep(0.2)


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)


def _words(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}: {error.read(500).decode(errors='replace')}"
    return str(error) or type(error).__name__
