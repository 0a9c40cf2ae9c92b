"""Does the engine still generate? Its own /health says yes while a rank is gone, so one token is asked for.

A busy engine needs no canary: as long as a number changes that only the engine's steps move it lives, and a question
would only wait in its queue. The numbers are read and written tokens, requests, and the cache in use: a prefill of many
chunks writes no token for long, but fills the cache chunk by chunk.

Nor is an idle engine asked all the time, since each question makes every rank wait for the next one in a loop, for a
second that costs a whole core. It is asked at once when something speaks against it: a rank that is stopped or silent
(:meth:`Canary.doubt`), or its own /health, which knows at least of the engine's main process. Else now and then.
"""

import threading
import time
import urllib.error
from dataclasses import dataclass

from hunyuan_runtime.serve.http_client import FAILURES, fetch
from hunyuan_runtime.serve.verdict import Standstill

_MOVES = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
)

Progress = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds: between looks, until a question counts as not answered yet, and for which a sign of life is believed."""

    every: float = 2
    answer: float = 1
    believed: float = 10


class Api:
    """The few calls to vLLM's HTTP API that the runtime makes itself."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model

    def generate_one_token(self, timeout: float) -> None:
        """Raise one of FAILURES when no token comes in time."""
        body = {"model": self._model, "prompt": "1", "max_tokens": 1, "temperature": 0}
        fetch(f"{self._url}/v1/completions", timeout=timeout, body=body)

    def check_health(self, timeout: float) -> None:
        """Raise one of FAILURES when the engine's main process is gone; of its ranks this says nothing."""
        fetch(f"{self._url}/health", timeout=timeout)

    def progress(self, timeout: float) -> Progress:
        """What is not the same as before if the engine has made a step in between."""
        lines = fetch(f"{self._url}/metrics", timeout=timeout).decode().splitlines()
        return tuple(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(_MOVES))


class Canary:
    """Looks from its own thread; ``alive`` turns true with the first answer, ``failure`` says why none came."""

    def __init__(self, api: Api, first_deadline: float, pace: Pace | None = None) -> None:
        self._api = api
        self._pace = pace or Pace()
        self._first_deadline = first_deadline
        self._seen: Progress | None = None
        self._lived = float("-inf")
        """When it last answered or moved."""
        self._doubt = threading.Event()
        self._since = 0.0
        """Since when it has been asked in vain; 0 after an answer or any progress."""
        self._error = ""
        self._refused = False
        self.alive = False
        self.failure = ""

    def start(self) -> None:
        threading.Thread(target=self._watch, name="canary", daemon=True).start()

    def doubt(self) -> None:
        """Something speaks against a rank: ask now, idle or not."""
        self._doubt.set()

    @property
    def standstill(self) -> Standstill:
        since = self._since
        if not since:
            return Standstill()
        return Standstill(seconds=time.monotonic() - since, refused=self._refused, words=self._error)

    def _watch(self) -> None:
        try:
            self._api.generate_one_token(timeout=self._first_deadline)
        except FAILURES as error:
            self.failure = f"the engine is up, but its first token didn't come: {_words(error)}"
            return
        self._lives(time.monotonic())
        self.alive = True
        while True:
            self._doubt.wait(min(self._pace.every, self._pace.answer) if self._since else self._pace.every)
            self.look()
            self._doubt.clear()  # one that lasts is told again

    def look(self) -> None:
        """Ask, unless something has moved since the last look, or had a while ago and nothing makes one doubt it."""
        began = time.monotonic()
        if self._moved():
            self._lives(began)
            return
        believed = began < self._lived + self._pace.believed and not self._since
        if believed and not self._doubt.is_set() and self._healthy():
            return
        try:
            self._api.generate_one_token(timeout=self._pace.answer)
        except FAILURES as error:
            self._error, self._refused = _words(error), not _is_timeout(error)
            if self._moved():
                self._lives(began)
            else:
                self._since = self._since or began
        else:
            self._moved()  # by this very question
            self._lives(began)

    def _lives(self, at: float) -> None:
        self._since, self._lived = 0.0, at

    def _healthy(self) -> bool:
        try:
            self._api.check_health(self._pace.answer)
        except FAILURES:
            return False
        return True

    def _moved(self) -> bool:
        try:
            now = self._api.progress(self._pace.answer)
        except FAILURES:
            return False
        before, self._seen = self._seen, now
        return before is not None and now != before


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)


def _words(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}: {error.read(500).decode(errors='replace')}"
    return str(error) or type(error).__name__
