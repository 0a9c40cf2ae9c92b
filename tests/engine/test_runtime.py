"""``python -m hunyuan_runtime.serve`` as a pod runs it: real Ray, real vLLM, one network namespace a rank.

The order is from quick to slow; the last test's group lives through a whole life.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from servers import serve_config

from hunyuan_runtime.config import Phase, Port, RuntimeStatus, ServeConfig
from hunyuan_runtime.termination import Cause, TerminationMessage
from hunyuan_runtime.tiny.answers import ANSWERS
from tests.engine.network import cut_off, pod_networks

pytestmark = [
    pytest.mark.engine,
    pytest.mark.network,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

SEEN_WITHIN = 10
"""Seconds from a fault to the end of the rank that has it, or that misses it."""
QUESTION, ANSWER = next(iter(ANSWERS.items()))


@dataclass
class RankProcess:
    """A rank and what it leaves behind."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path

    @property
    def message(self) -> TerminationMessage | None:
        path = self.folder / "termination-log"
        return TerminationMessage.parse(path.read_text()) if path.exists() else None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def status(self) -> RuntimeStatus | None:
        try:
            return RuntimeStatus.model_validate_json(self.get(Port.STATUS, "/status"))
        except OSError:
            return None

    def ready(self) -> bool:
        try:
            self.get(Port.STATUS, "/readyz")
        except OSError:
            return False
        return True

    def get(self, port: int, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.address}:{int(port)}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def engine_processes(self) -> list[psutil.Process]:
        """Of the engine's rank: an actor of Ray, or a child of the engine if it is the only one."""
        tree = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in tree if re.match("ray::RayWorker|VLLM::Worker", " ".join(process.cmdline()))]

    def end(self, timeout: float) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"didn't end within {timeout} s:\n{self.log[-8000:]}")


Start = Callable[[int, ServeConfig], RankProcess]


@pytest.fixture(scope="module")
def networks() -> Iterator[list[tuple[str, str]]]:
    with pod_networks(2) as networks:
        yield networks


@pytest.fixture
def start(networks: list[tuple[str, str]]) -> Iterator[Start]:
    """Start a rank in its own namespace; all are ended after the test."""
    started: list[RankProcess] = []
    # Ray's sockets lie in there, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="hy-") as root:
        Path(root, "token").write_text(secrets.token_hex(32))

        def start(index: int, config: ServeConfig) -> RankProcess:
            namespace, address = networks[index]
            folder = Path(root, str(index))
            folder.mkdir()
            (folder / "config.json").write_text(config.model_dump_json())
            env = {
                "PATH": os.environ["PATH"],
                "HUNYUAN_DEVICE": "cpu",
                "HUNYUAN_RANK": str(index),
                "HUNYUAN_LEADER": networks[0][1],
                "HUNYUAN_POD_IP": address,
            }
            files = {
                "--config": "config.json",
                "--termination-log": "termination-log",
                "--work": "work",
                "--ray-token": "../token",
            }
            command = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-m", "hunyuan_runtime.serve"]
            command += [f"{option}={folder / name}" for option, name in files.items()]
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
            started.append(RankProcess(process, address, folder))
            return started[-1]

        yield start
        for rank in started:
            rank.process.terminate()
        for rank in started:
            rank.process.wait(30)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def wait_for(what: Callable[[], Any], rank: RankProcess, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        code = rank.process.poll()
        assert code is None, f"ended with {code}:\n{rank.log[-8000:]}"
        assert time.monotonic() < deadline, rank.log[-8000:]
        time.sleep(0.2)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_missing_model_ends_every_rank_within_seconds(start: Start, tmp_path: Path, rank: int) -> None:
    with at_most(20):
        ended = start(rank, serve_config(tmp_path / "no/model"))
        assert ended.end(20) == Cause.ModelNotFound.exit_code
    assert ended.message is not None
    assert (ended.message.reason, ended.message.retryable, ended.message.rank) == ("ModelNotFound", False, rank)
    assert f"{tmp_path}/no/model" in ended.message.message
    assert "Traceback" in ended.log


def test_a_stopped_rank_leaves_no_message_and_no_failure(start: Start, tiny: Path) -> None:
    waiting = start(1, serve_config(tiny, nodes=2))
    wait_for(waiting.status, waiting, 20)
    assert not waiting.ready()
    with at_most(10):
        waiting.process.terminate()
        assert waiting.end(10) == 128 + signal.SIGTERM
    assert waiting.message is None


def test_an_option_that_vllm_does_not_know_is_named(start: Start, tiny: Path) -> None:
    ended = start(0, serve_config(tiny, extra_args={"no-such-option": 1}))
    assert ended.end(300) == Cause.ConfigInvalid.exit_code
    assert ended.message is not None
    assert "no-such-option" in ended.message.message
    assert not ended.message.retryable


def test_a_start_that_hangs_is_ended_and_names_the_rank_that_hangs(start: Start, tiny: Path) -> None:
    """Rank 1's engine process is stopped before the ranks have met: gloo would wait for it for half an hour."""
    both = serve_config(tiny, nodes=2, tensor_parallel=2)
    worker, leader = start(1, both), start(0, both)
    wait_for(worker.engine_processes, leader, 240)
    [victim] = worker.engine_processes()
    victim.suspend()
    with at_most(45):
        assert worker.end(45) == Cause.RankHung.exit_code
    assert worker.message is not None
    assert f"rank 1: process {victim.pid}" in worker.message.message
    assert leader.end(30) == Cause.EngineFailed.exit_code
    assert leader.message is not None
    assert leader.message.ranks == (1,)


@pytest.mark.parametrize(
    ("number", "cause", "words"),
    [
        (signal.SIGKILL, Cause.WorkerDied, "{pid} (VLLM::Worker) on rank 0 died"),
        (signal.SIGSTOP, Cause.RankHung, "rank 0: process {pid} (VLLM::Worker) has been stopped"),
    ],
)
def test_a_fault_of_a_single_rank_is_seen_in_time_and_named(
    start: Start, tiny: Path, number: signal.Signals, cause: Cause, words: str
) -> None:
    """Ray knows nothing of its process. It has just answered, so nobody asks it for some time without a doubt."""
    alone = start(0, serve_config(tiny))
    loaded: list[int] = []

    def serving() -> bool:
        if (status := alone.status()) and status.progress:
            loaded.append(status.progress.done_bytes)
        return alone.ready()

    wait_for(serving, alone, 480)
    assert loaded, "a rank that vLLM started tells how far it is too"
    [victim] = alone.engine_processes()
    victim.send_signal(number)
    with at_most(SEEN_WITHIN):
        assert alone.end(60) == cause.exit_code
    assert alone.message is not None
    assert words.format(pid=victim.pid) in alone.message.message
    assert alone.message.ranks == (0,)


@pytest.mark.parametrize("fault", ["stopped", "cut off"])
def test_a_fault_of_one_of_two_idle_ranks_is_seen_in_time_and_named(
    start: Start, tiny: Path, networks: list[tuple[str, str]], fault: str
) -> None:
    both = serve_config(tiny, nodes=2, tensor_parallel=2)
    worker, leader = start(1, both), start(0, both)
    wait_for(leader.ready, leader, 480)
    if fault == "stopped":
        [victim] = worker.engine_processes()
        victim.suspend()
        with at_most(SEEN_WITHIN):
            assert worker.end(60) == Cause.RankHung.exit_code
        assert worker.message is not None
        assert f"rank 1: process {victim.pid}" in worker.message.message
        return
    with cut_off(networks[1][0]), at_most(SEEN_WITHIN):
        assert leader.end(60) == Cause.RankUnreachable.exit_code
    assert leader.message is not None
    assert leader.message.ranks == (1,)


def test_two_ranks_serve_together_and_the_one_that_dies_takes_the_blame(start: Start, tiny: Path) -> None:
    both = serve_config(tiny, nodes=2, tensor_parallel=2)
    worker = start(1, both)
    leader = start(0, both)
    phases: list[Phase] = []
    loaded: list[tuple[int, int]] = []

    def serving() -> bool:
        ready, status = leader.ready(), leader.status()
        if status is not None and status.phase not in phases:
            phases.append(status.phase)
        if status is not None and status.progress is not None:
            loaded.append((status.progress.done_bytes, status.progress.total_bytes))
        assert not ready or phases[-1] is Phase.SERVING
        return ready

    wait_for(serving, leader, 480)
    assert phases == sorted(phases, key=list(Phase).index)
    assert phases[-1] is Phase.SERVING
    size = sum(path.stat().st_size for path in tiny.glob("*.safetensors"))
    assert (loaded, loaded[-1]) == (sorted(loaded), (size, size))
    status = leader.status()
    assert status is not None
    assert (status.ranks_joined, status.progress) == (2, None)
    assert worker.ready()

    for question in (QUESTION, f"<|eos|>{QUESTION}"):
        body = {"model": "tiny", "temperature": 0, "messages": [{"role": "user", "content": question}]}
        answer = json.loads(leader.get(Port.API, "/v1/chat/completions", body))
        if question == QUESTION:
            assert answer["choices"][0]["message"]["content"] == ANSWER
            plain = answer["usage"]["prompt_tokens"]
    assert answer["usage"]["prompt_tokens"] > plain + 1, "a control token that a user writes is only text"

    [victim] = worker.engine_processes()
    tree = [p for rank in (leader, worker) for p in psutil.Process(rank.process.pid).children(recursive=True)]
    victim.kill()
    with at_most(20):
        assert worker.end(20) == Cause.WorkerDied.exit_code
    assert leader.process.poll() is None, "the leader leaves the blame to the worker"
    assert not leader.ready()
    assert leader.end(60) == Cause.EngineFailed.exit_code
    assert worker.message is not None
    assert f"process {victim.pid} on rank 1 died" in worker.message.message
    assert leader.message is not None
    assert "rank 1" in leader.message.message
    _gone, alive = psutil.wait_procs(tree, timeout=10)
    assert not alive, alive
