"""The front door on a real engine: what clients rely on. One start for all tests; the last one closes the door."""

import json
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hunyuan_cli.main import main
from servers import ours, serve_config
from tokenizers import Tokenizer

from hunyuan_runtime.tiny.answers import ANSWERS

pytestmark = pytest.mark.engine

QUESTION, ANSWER = next(iter(ANSWERS.items()))
SAMPLING = {"temperature": 0.7, "top_p": 0.6, "top_k": 20, "repetition_penalty": 1.05}
"""Hunyuan-Large's generation_config.json."""
TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}]


@dataclass(frozen=True)
class Front:
    """A leader that serves, and the log of all its processes."""

    url: str
    log: Path
    second_stop: int
    """The last token of ANSWER, which generation_config.json makes a stop token beside the model's own."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def chat(self, question: str = QUESTION, **fields: Any) -> tuple[int, Any]:
        body = {"model": "tiny", "messages": [{"role": "user", "content": question}], **fields}
        status, text = self.ask("/v1/chat/completions", body)
        return status, json.loads(text)

    def logged(self, pattern: str) -> str:
        """The group of the last match; Ray brings the lines of its processes together within seconds."""
        deadline = time.monotonic() + 30
        while not (found := re.findall(pattern, self.log.read_text(errors="replace"))):
            assert time.monotonic() < deadline, f"not in the log: {pattern}"
            time.sleep(0.2)
        return str(found[-1])

    def metric(self, name: str) -> float:
        lines = self.ask("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def front(tiny: Path) -> Iterator[Front]:
    """Serves the tiny model with the sampling of Hunyuan-Large beside its weights."""
    with tempfile.TemporaryDirectory(prefix="hy-") as folder:
        model = Path(folder, "model")
        model.mkdir()
        for file in tiny.iterdir():
            (model / file.name).symlink_to(file)
        (model / "generation_config.json").unlink()
        ids = Tokenizer.from_file(str(tiny / "tokenizer.json")).encode(ANSWER, add_special_tokens=False).ids
        stops = [json.loads((tiny / "config.json").read_text())["eos_token_id"], ids[-1]]
        (model / "generation_config.json").write_text(json.dumps(SAMPLING | {"do_sample": True, "eos_token_id": stops}))
        log = Path(folder, "log")
        server = ours(serve_config(model, extra_args={"enable-log-requests": True}), Path(folder))
        with server.running(log):
            yield Front(server.url, log, ids[-1])


def hunyuan(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_what_a_client_looks_at_first_is_vllms_own(front: Front) -> None:
    status, models = front.ask("/v1/models")
    assert status == 200
    assert [model["id"] for model in json.loads(models)["data"]] == ["tiny"]
    assert front.ask("/health") == (200, "")
    assert front.metric("vllm:prompt_tokens_total") > 0, "the canary's"


def test_a_request_without_sampling_gets_the_checkpoints(front: Front) -> None:
    status, answer = front.chat(max_tokens=3)
    assert status == 200
    logged = front.logged(rf"Received request {answer['id']}.*?params: SamplingParams\((.*)")
    for name, value in SAMPLING.items():
        assert f"{name}={value}," in logged


def test_every_stop_token_of_the_checkpoint_ends_an_answer(front: Front) -> None:
    [choice] = front.chat(temperature=0, repetition_penalty=1)[1]["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", front.second_stop)
    assert choice["message"]["content"]
    assert ANSWER.startswith(choice["message"]["content"])


def test_a_stream_is_the_answer_in_pieces(front: Front) -> None:
    result = hunyuan("chat", front.url, QUESTION, "--temperature", "0", "--json")
    assert result.exit_code == 0, result.stderr
    whole = front.chat(temperature=0)[1]["choices"][0]["message"]["content"]
    assert json.loads(result.stdout) == {"model": "tiny", "answer": whole}


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/images/generations", "/v1/audio/speech", "/v1/moderations"])
def test_an_endpoint_that_a_text_generator_lacks_is_refused_in_a_sentence(front: Front, path: str) -> None:
    status, text = front.ask(path, {"model": "tiny", "input": "x"})
    error = json.loads(text)["error"]
    assert (status, error["code"]) == (404, 404)
    assert error["message"].startswith(f"{path} is not served: this model generates text.")


def test_tools_are_refused_unless_they_are_not_to_be_used(front: Front) -> None:
    for choice in ("auto", "required", {"type": "function", "function": {"name": "clock"}}):
        status, answer = front.chat(tools=TOOLS, tool_choice=choice)
        assert status == 400, choice
        assert "--tool-call-parser" in answer["error"]["message"]
    assert front.chat(tools=TOOLS, tool_choice="none", max_tokens=1)[0] == 200
    status, text = front.ask("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "tool", "content": "x"}]})
    assert status == 400
    assert "role tool" in json.loads(text)["error"]["message"]


def test_a_beginning_that_was_read_before_comes_from_the_cache(front: Front) -> None:
    text = "The same long beginning of a prompt. " * 10
    assert front.chat(text, max_tokens=1)[0] == 200
    hits = front.metric("vllm:prefix_cache_hits_total")
    assert front.chat(text, max_tokens=1)[0] == 200
    assert front.metric("vllm:prefix_cache_hits_total") > hits


def test_long_prompts_are_read_in_chunks_between_the_steps_of_others(front: Front) -> None:
    assert front.logged(r"enable_chunked_prefill=(\w+)") == "True"
    assert front.logged(r"enable_prefix_caching=(\w+)") == "True"


def test_a_load_is_measured_and_no_request_fails(front: Front) -> None:
    arguments = ("--streams", "4", "--rate", "4", "--requests", "8", "--max-tokens", "8")
    result = hunyuan("bench", front.url, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    closed, opened = json.loads(result.stdout)["runs"]
    assert (closed["failed"], closed["tokens"]) == (0, 64)
    assert (opened["failed"], opened["tokens"]) == (0, 64)
