"""What is trained on, and that it is what the server will see."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from transformers import AutoTokenizer

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.tokenizer import convert, encode_chat
from hunyuan_runtime.train import data
from hunyuan_runtime.train.data import ChatEncoder, Message
from hunyuan_runtime.train.data.encoding import IGNORED
from tests.unit.train_data.conftest import write_tokenizer
from tests.unit.train_data.conversations import assistant, conversations, system, user

SHARED = Path(__file__).parents[4] / "shared/data"
Q, A = user("the sea <|eos|>"), assistant("海洋 <|extra_0|>")


@pytest.fixture(scope="module")
def encoder(tokenizer: Any) -> ChatEncoder:
    return ChatEncoder(tokenizer)


def encode(encoder: ChatEncoder, *messages: Message) -> tuple[list[int], list[int]]:
    [encoded] = encoder.encode([messages])
    return encoded.input_ids, encoded.labels


def trained(labels: list[int]) -> list[int]:
    return [label for label in labels if label != IGNORED]


def assert_right(messages: list[Message], ids: list[int], labels: list[int], tokenizer: Any) -> None:
    assert ids == encode_chat(tokenizer, messages)
    assert all(label in (token, IGNORED) for token, label in zip(ids, labels, strict=True))
    answers = [unicodedata.normalize("NFC", m["content"]) for m in messages if m["role"] == "assistant"]
    assert tokenizer.decode(trained(labels)) == "".join(f"{answer}<|eos|>" for answer in answers)


def assert_served(messages: list[Message], ids: list[int], labels: list[int], tokenizer: Any) -> None:
    """Whatever is trained on begins where the server, asked the same, begins to answer."""
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = encode_chat(tokenizer, messages[:index], add_generation_prompt=True)
            assert ids[: len(prompt)] == prompt
            assert labels[len(prompt) - 1] == IGNORED
            assert labels[len(prompt)] != IGNORED


@given(conversations())
def test_trained_on_are_the_answers_and_their_ends(
    encoder: ChatEncoder, tokenizer: Any, messages: list[Message]
) -> None:
    ids, labels = encode(encoder, *messages)
    assert_right(messages, ids, labels, tokenizer)
    assert_served(messages, ids, labels, tokenizer)


@given(conversations(), conversations())
def test_a_conversation_is_the_same_whatever_stands_beside_it(
    encoder: ChatEncoder, first: list[Message], second: list[Message]
) -> None:
    assert encoder.encode([first, second]) == encoder.encode([first]) + encoder.encode([second])


def test_nothing_is_encoded_to_nothing(encoder: ChatEncoder) -> None:
    assert encoder.encode([]) == []


def test_control_tokens_that_people_spell_move_no_label(encoder: ChatEncoder, tokenizer: Any) -> None:
    ids, labels = encode(encoder, system("<|startoftext|>"), Q, A, Q, A)
    control = set(tokenizer.added_tokens_decoder)
    assert tokenizer.decode([token for token in ids if token in control]) == (
        "<|startoftext|><|extra_4|><|extra_0|><|eos|><|startoftext|><|extra_0|><|eos|>"
    )
    assert tokenizer.decode(trained(labels)) == "海洋 <|extra_0|><|eos|>" * 2


def test_a_megabyte_in_a_message_is_encoded(encoder: ChatEncoder, tokenizer: Any) -> None:
    ids, labels = encode(encoder, user("x" * 1_000_000), assistant("a " * 500_000))
    assert len(ids) > 1_000_000
    assert tokenizer.decode(trained(labels)) == "a " * 500_000 + "<|eos|>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no') }}", "the chat template can't be used: no"),
        (
            "{% for m in messages %}{{ m['content'] }}<|extra_0|>{% endfor %}",
            "doesn't end an answer with eos_token '<|eos|>'",
        ),
        (
            "{% for m in messages %}{{ m['content'] }}<|eos|>{% endfor %}"
            "{% if add_generation_prompt %}<|extra_0|>{% endif %}",
            "what the chat template puts before an answer isn't what it asks for one with",
        ),
    ],
)
def test_a_template_that_cannot_be_trained_with_is_refused(template: str, words: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write_tokenizer(tmp_path, chat_template=template))
    with pytest.raises(RuntimeFailure) as failure:
        ChatEncoder(tokenizer)
    assert failure.value.cause is Cause.TokenizerInvalid
    assert words in str(failure.value)


@pytest.mark.parametrize("name", ["example_data.jsonl", "car_train.jsonl"])
def test_the_published_samples_are_encoded_as_they_will_be_served(name: str, tmp_path: Path) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"the published samples are kept outside the repository (../shared/data/{name})")
    tokenizer = AutoTokenizer.from_pretrained(convert(SHARED, tmp_path))
    numbered = [messages for _, messages in data.conversations(SHARED / name)][:300]
    for messages, encoded in zip(numbered, ChatEncoder(tokenizer).encode(numbered), strict=True):
        assert_right(messages, encoded.input_ids, encoded.labels, tokenizer)
        assert_served(messages, encoded.input_ids, encoded.labels, tokenizer)
