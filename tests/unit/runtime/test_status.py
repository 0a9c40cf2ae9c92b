"""What a rank answers to probes and to the operator."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from hunyuan_runtime.config import Phase, RuntimeStatus
from hunyuan_runtime.status import StatusServer

Server = StatusServer[RuntimeStatus]


@pytest.fixture
def server() -> Iterator[Server]:
    server = StatusServer(port=0, status=RuntimeStatus(phase=Phase.STARTING), host="127.0.0.1")
    yield server
    server.close()


def get(server: Server, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_rank_lives_from_its_first_second_and_is_not_ready(server: Server) -> None:
    assert get(server, "/livez") == (200, "ok")
    assert get(server, "/readyz") == (503, "not ready: Starting")
    assert RuntimeStatus.model_validate_json(get(server, "/status")[1]) == RuntimeStatus(phase=Phase.STARTING)


def test_what_changes_is_seen_at_once(server: Server) -> None:
    server.update(phase=Phase.LOADING, ranks_joined=2)
    assert json.loads(get(server, "/status")[1])["ranks_joined"] == 2
    assert get(server, "/readyz")[0] == 503
    server.update(phase=Phase.SERVING)
    server.ready = True
    assert get(server, "/readyz") == (200, "ok")


def test_other_paths_are_unknown(server: Server) -> None:
    assert get(server, "/metrics")[0] == 404
