"""``hunyuan chat``: one question, a conversation, a deployment by its name."""

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hunyuan_cli import chat as chat_module
from hunyuan_cli.chat import Conversation, talk
from hunyuan_cli.endpoint import Endpoint
from hunyuan_cli.main import main

from tests.unit.cli.played_endpoint import PlayedEndpoint


@pytest.fixture
def endpoint() -> Iterator[PlayedEndpoint]:
    played = PlayedEndpoint()
    with played.running():
        yield played


def chat(*args: str, text: str = "") -> Result:
    return CliRunner().invoke(main, ["chat", *args], input=text, env={"OPENAI_API_KEY": ""})


def test_a_question_is_answered_and_the_rest_is_left_to_the_model(endpoint: PlayedEndpoint) -> None:
    result = chat(endpoint.url, "How many?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "one two three\n", "")
    assert endpoint.bodies == [
        {"model": "tiny", "messages": [{"role": "user", "content": "How many?"}], "stream": True}
    ], "no sampling of our own: the checkpoint's generation_config.json has it"


def test_options_reach_the_request_and_stdin_can_ask(endpoint: PlayedEndpoint) -> None:
    result = chat(
        endpoint.url, "-s", "Be brief.", "--temperature", "0", "--max-tokens", "9", "--json", text="How many?\n"
    )
    assert json.loads(result.stdout) == {"model": "tiny", "answer": "one two three"}
    [body] = endpoint.bodies
    assert (body["temperature"], body["max_tokens"]) == (0, 9)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How many?"},
    ]


def test_no_answer_is_one_line_and_code_2(endpoint: PlayedEndpoint) -> None:
    result = chat(endpoint.url, "--model", "other", "x")
    assert (result.exit_code, result.stdout.strip()) == (2, "")
    assert result.stderr.startswith("hunyuan: ")
    assert "does not exist" in result.stderr


def ask_by_keyboard(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> None:
    left = [*lines, EOFError]

    def type_line(prompt: str) -> str:
        line = left.pop(0)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", type_line)


def converse(endpoint: PlayedEndpoint) -> Conversation:
    conversation = Conversation("tiny", {})
    with asyncio.Runner() as runner:
        opened = runner.run(Endpoint(endpoint.url).__aenter__())
        talk(runner, opened, conversation)
        runner.run(opened.__aexit__())
    return conversation


def test_a_conversation_remembers(
    endpoint: PlayedEndpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_by_keyboard(monkeypatch, "first", "", KeyboardInterrupt, "second")
    converse(endpoint)
    assert [message["content"] for message in endpoint.bodies[1]["messages"]] == ["first", "one two three", "second"]
    assert capsys.readouterr().out == "one two three\none two three\n"


def test_ctrl_c_stops_the_answer_and_not_the_conversation(
    endpoint: PlayedEndpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.hangs_at = 2
    ask_by_keyboard(monkeypatch, "first", "second")
    main_thread = threading.get_ident()

    def press() -> None:
        for _ in range(2):
            endpoint.hanging.wait(10)
            endpoint.hanging.clear()
            written.wait(10)
            written.clear()
            signal.pthread_kill(main_thread, signal.SIGINT)  # to the thread that waits, not to any one

    written = threading.Event()
    write = chat_module._write

    def write_and_tell(text: str) -> None:
        write(text)
        if text == " two":
            written.set()

    monkeypatch.setattr(chat_module, "_write", write_and_tell)
    presser = threading.Thread(target=press)
    presser.start()
    conversation = converse(endpoint)
    presser.join()
    assert [message["content"] for message in conversation.messages] == ["first", "one two", "second", "one two"]
    assert capsys.readouterr().err.count("[stopped]") == 2


def test_a_failure_leaves_the_conversation_as_it_was(
    endpoint: PlayedEndpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.error_at = 0
    ask_by_keyboard(monkeypatch, "first")
    assert converse(endpoint).messages == []
    assert "the engine died" in capsys.readouterr().err


KUBECTL = """#!{python}
import sys, time
if "service/mine" not in sys.argv:
    print("Error from server (NotFound): services \\"other\\" not found")
    sys.exit(1)
open({asked!r}, "w").write(" ".join(sys.argv[1:]))
print("Forwarding from {address} -> 8000", flush=True)
time.sleep(60)
"""


@pytest.fixture
def kubectl(tmp_path: Path, endpoint: PlayedEndpoint, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forwards to the played endpoint; returns the file that holds what it was asked."""
    asked = tmp_path / "asked"
    program = tmp_path / "kubectl"
    address = endpoint.url.removeprefix("http://")
    program.write_text(KUBECTL.format(python=sys.executable, asked=str(asked), address=address))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return asked


def test_a_deployment_is_reached_by_its_name(kubectl: Path) -> None:
    result = chat("mine", "-n", "models", "How many?")
    assert (result.exit_code, result.stdout) == (0, "one two three\n")
    assert kubectl.read_text() == "port-forward service/mine :8000 --address=127.0.0.1 --namespace=models"


def test_a_name_that_kubectl_does_not_know_is_said_in_its_words(kubectl: Path) -> None:
    result = chat("other", "x")
    assert result.exit_code == 2
    assert result.stderr == 'hunyuan: kubectl: Error from server (NotFound): services "other" not found\n'


def test_a_name_without_kubectl_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = chat("mine", "x")
    assert result.exit_code == 2
    assert "without kubectl" in result.stderr
