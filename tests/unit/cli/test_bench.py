"""``hunyuan bench``: what it prints, and how it ends."""

import json
import socket
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from hunyuan_cli.main import main

from tests.unit.cli.played_endpoint import PlayedEndpoint


@pytest.fixture
def endpoint() -> Iterator[PlayedEndpoint]:
    played = PlayedEndpoint()
    with played.running():
        yield played


@pytest.fixture
def nobody() -> str:
    """A URL where nothing listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def bench(*args: str) -> Result:
    return CliRunner().invoke(main, ["bench", *args], env={"OPENAI_API_KEY": ""})


def test_both_loops_are_measured_and_said_in_one_table(endpoint: PlayedEndpoint) -> None:
    result = bench(endpoint.url, "--streams", "2", "--streams", "4", "--rate", "500", "--requests", "6")
    assert (result.exit_code, result.stderr) == (0, "")
    titles = [line[:16].strip() for line in result.stdout.splitlines()[1:]]
    assert titles == ["2 streams", "4 streams", "500 requests/s"]


def test_json_has_every_number(endpoint: PlayedEndpoint) -> None:
    result = bench(f"{endpoint.url}/v1/", "--streams", "2", "--json")
    found = json.loads(result.stdout)
    [run] = found["runs"]
    assert run["run"] == {"streams": 2, "rate": 0.0, "requests": 8}
    assert (run["requests"], run["failed"], run["tokens"]) == (8, 0, 24)
    assert run["tokens_per_second"] > 0
    for latency in ("ttft_ms", "itl_ms", "e2e_ms"):
        assert 0 < run[latency]["p50"] <= run[latency]["p90"] <= run[latency]["p99"]


def test_what_is_asked_follows_the_options(endpoint: PlayedEndpoint) -> None:
    assert bench(endpoint.url, "--requests", "1", "--max-tokens", "7", "--prompt-words", "0").exit_code == 0
    body = endpoint.bodies[-1]
    assert (body["model"], body["max_tokens"], body["ignore_eos"], body["stream"]) == ("tiny", 7, True, True)
    assert bench(endpoint.url, "--requests", "1", "--no-ignore-eos").exit_code == 0
    assert "ignore_eos" not in endpoint.bodies[-1]


def test_an_endpoint_that_is_not_there_is_one_line_and_code_2(nobody: str) -> None:
    result = bench(nobody)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"hunyuan: {nobody} can't be reached: Connection refused\n"


def test_a_wrong_key_and_a_wrong_model_are_named(endpoint: PlayedEndpoint) -> None:
    result = bench(endpoint.url, "--model", "other")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "The model `other` does not exist. Valid aliases: tiny." in result.stderr
    endpoint.key = "secret"
    result = bench(endpoint.url, "--api-key", "wrong")
    assert result.exit_code == 2
    assert "refuses the API key (401); give --api-key" in result.stderr
    assert bench(endpoint.url, "--api-key", "secret", "--requests", "1").exit_code == 0


def test_failures_under_load_are_counted_and_end_with_code_1(
    endpoint: PlayedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = endpoint.chat

    def break_after_warm_up() -> None:
        endpoint.breaks_at = 1 if len(endpoint.bodies) >= 4 else -1

    class Bodies(list[dict[str, object]]):
        def append(self, body: dict[str, object]) -> None:
            super().append(body)
            break_after_warm_up()

    assert chat is not None
    monkeypatch.setattr(endpoint, "bodies", Bodies())
    result = bench(endpoint.url, "--streams", "1", "--requests", "4", "--json")
    [run] = json.loads(result.stdout)["runs"]
    assert result.exit_code == 1
    assert (run["requests"], run["failed"]) == (4, 3)
    assert "the connection broke" in result.stderr
