"""What a leader knows of its workers: since when they are silent, and what they say against themselves."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hunyuan_runtime.config import Phase, RuntimeStatus
from hunyuan_runtime.serve import peers
from hunyuan_runtime.serve.peers import Peers, ask_status, ask_suspect
from hunyuan_runtime.serve.stopped import LASTING, StoppedProcesses
from hunyuan_runtime.status import StatusServer

Server = StatusServer[RuntimeStatus]

WELL, SUSPECT = "", "process 7 (ray) has been stopped for 3 s"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "EVERY", 0.02)


def until(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_rank_is_heard_on_its_own() -> None:
    answers: dict[str, str | None] = {"a": WELL, "b": None, "c": SUSPECT}
    watched = Peers(ask=answers.__getitem__)
    watched.watch({1: "a", 2: "b", 3: "c"})
    until(lambda: watched.look()[1].silent > 0.2 and watched.look()[2].suspect)
    well, silent, suspect = watched.look()
    assert (well.rank, silent.rank, suspect.rank) == (1, 2, 3)
    assert well.silent < silent.silent
    assert (well.suspect, suspect.suspect) == (WELL, SUSPECT)


def test_a_rank_that_answers_again_is_not_silent_any_more() -> None:
    answers: dict[str, str | None] = {"a": None}
    watched = Peers(ask=answers.__getitem__)
    watched.watch({1: "a"})
    until(lambda: watched.look()[0].silent > 0.2)
    answers["a"] = WELL
    until(lambda: watched.look()[0].silent < 0.1)


def test_without_ranks_there_is_nothing_to_see() -> None:
    assert Peers().look() == []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = StatusServer(port=0, status=RuntimeStatus(phase=Phase.STARTING), host="127.0.0.1")
    monkeypatch.setattr(peers, "Port", type("Port", (), {"STATUS": server.port}))
    yield server
    server.close()


def test_a_status_server_is_asked_over_http(server: Server) -> None:
    server.update(suspect="x")
    answer = ask_status("127.0.0.1")
    assert answer is not None
    assert answer.suspect == ask_suspect("127.0.0.1") == "x"
    assert ask_status("127.0.0.2") is None
    assert ask_suspect("127.0.0.2") is None


class PlayedProcess:
    def __init__(self, pid: int, state: str) -> None:
        self.pid, self.state = pid, state

    def name(self) -> str:
        return "ray::RayWorker"

    def status(self) -> str:
        return self.state


def test_a_process_counts_as_stopped_when_it_has_been_so_for_a_while() -> None:
    played: Any = [PlayedProcess(6, "sleeping"), PlayedProcess(7, "stopped")]
    stopped = StoppedProcesses(lambda: played)
    assert stopped.look(100) == ""
    assert stopped.look(100 + LASTING) == "process 7 (ray::RayWorker) has been stopped for 2 s"
    played[1].state = "running"
    assert stopped.look(103) == ""
    played[1].state = "stopped"
    assert stopped.look(104) == "", "it starts anew: a debugger stops a process again and again"
