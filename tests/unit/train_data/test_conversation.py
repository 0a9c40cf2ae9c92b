"""Which lines are conversations, and what is said of those that aren't."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hunyuan_runtime.train.data import Message
from hunyuan_runtime.train.data.conversation import LineError, parse
from tests.unit.train_data.conversations import assistant, conversations, line, system, user

Q, A = user("Which ocean?"), assistant("The Pacific.")


@pytest.mark.parametrize(
    "messages",
    [
        [Q, A],
        [system("Be short."), Q, A],
        [system(""), Q, A],
        [Q, A, Q, A],
        [user(""), A],
        [user("<|eos|>\x00"), assistant("<|extra_0|>")],
    ],
)
def test_a_conversation_is_read_as_it_stands(messages: list[Message]) -> None:
    assert parse(line(*messages).encode()) == messages


def test_other_keys_say_nothing() -> None:
    assert parse(line(dict(Q, name="x"), A, id=7).encode()) == [Q, A]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"messages": [}', "broken JSON at column 15: Expecting value"),
        ('{"messages": []} x', "broken JSON at column 18: Extra data"),
        ('{"messages": "\x00"}', "broken JSON at column 15: Invalid control character at"),
        ("", "empty"),
        ("  \t", "empty"),
        ("[", "a JSON array; one object a line is needed, as `jq -c '.[]' FILE` writes them"),
        ("3", "not a JSON object but a number"),
        ("null", "not a JSON object but null"),
        ('{"input": "x", "label": "y"}', "no \"messages\"; its keys are 'input', 'label'"),
        ("{}", 'no "messages"; its keys are none'),
        ('{"messages": {}}', '"messages" is an object, not a list'),
        ('{"messages": []}', '"messages" is an empty list'),
        ('{"messages": ["x"]}', "message 1 is a string, not an object"),
        (line({"content": "x"}), "message 1 has no role; roles are system, user, assistant"),
        (line(Q, {"role": "tool"}), "message 2 has unknown role 'tool'; roles are system, user, assistant"),
        (line({"role": ["user"]}), "message 1 has unknown role ['user']; roles are system, user, assistant"),
        (line({"role": "user"}, A), "message 1 (user) has no content; it must be a string"),
        (line({"role": "user", "content": None}, A), "message 1 (user) has no content; it must be a string"),
        (line({"role": "user", "content": 1.5}, A), "message 1 (user) has a number as content; it must be a string"),
        (line({"role": "user", "content": [Q]}, A), "message 1 (user) has a list as content; it must be a string"),
        (line(Q, assistant("")), "message 2 (assistant) is empty: there is nothing to learn from it"),
        (line(Q, assistant(" \n")), "message 2 (assistant) is empty: there is nothing to learn from it"),
        (line(A), "roles out of order: message 1 is the assistant's where the user's is due"),
        (line(system("x"), A), "roles out of order: message 2 is the assistant's where the user's is due"),
        (line(Q, Q, A), "roles out of order: message 2 is the user's where the assistant's is due"),
        (line(Q, A, A), "roles out of order: message 3 is the assistant's where the user's is due"),
        (line(Q, system("x"), A), "roles out of order: message 2 is a system message; only the first can be one"),
        (line(Q, A, Q), "the last message is the user's; it must be the assistant's, which is trained on"),
        (line(system("x")), "the last message is the system's; it must be the assistant's, which is trained on"),
        (
            r'{"messages": [{"role": "user", "content": "a\ud800b"}, {"role": "assistant", "content": "x"}]}',
            "message 1 (user) holds half a character, \\ud800 at position 2",
        ),
    ],
)
def test_what_is_wrong_with_a_line_is_said(text: str, reason: str) -> None:
    with pytest.raises(LineError, match=f"^{re.escape(reason)}$"):
        parse(text.encode())


def test_bytes_that_are_no_text_are_said_by_position() -> None:
    with pytest.raises(LineError, match=r"^not UTF-8: byte 0xff at position 3$"):
        parse(b'{"\xff')


def test_a_byte_order_mark_and_a_carriage_return_are_no_harm() -> None:
    assert parse(b"\xef\xbb\xbf" + line(Q, A).encode() + b"\r") == [Q, A]


def test_a_pair_of_halves_is_a_character() -> None:
    text = r'{"messages": [{"role": "user", "content": "\ud83d\ude42"}, {"role": "assistant", "content": "x"}]}'
    assert parse(text.encode())[0]["content"] == "🙂"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"messages":' * 100_000, '{"messages": ' + "1" * 5000 + "}"])
def test_json_that_breaks_parsers_is_one_bad_line(text: str) -> None:
    with pytest.raises(LineError):
        parse(text.encode())


def test_a_reason_is_short_whatever_the_line_says() -> None:
    with pytest.raises(LineError) as error:
        parse(line({"role": "x" * 1_000_000}).encode())
    assert len(str(error.value)) < 200


@given(conversations())
def test_every_conversation_survives_being_written(messages: list[Message]) -> None:
    assert parse(line(*messages).encode()) == messages
    assert parse(json.dumps({"messages": messages}).encode()) == messages


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
nearly = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["system", "user", "assistant", "tool"]) | json_values,
        "content": st.text() | json_values,
    },
)


@given(st.fixed_dictionaries({"messages": st.lists(nearly | json_values, max_size=4)}) | json_values)
@example({"messages": [{"role": "user", "content": True}]})
def test_any_other_json_is_a_conversation_or_a_line_error(value: object) -> None:
    try:
        messages = parse(json.dumps(value).encode())
    except LineError:
        return
    assert messages[-1]["role"] == "assistant"


@given(st.binary(max_size=60))
def test_any_other_bytes_are_a_line_error(data: bytes) -> None:
    with pytest.raises(LineError):
        parse(data)
