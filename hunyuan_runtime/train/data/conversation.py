"""One line of a training file → its messages, or what is wrong with it in words for whoever wrote the file.

A line is ``{"messages": [{"role": ..., "content": ...}, ...]}``: a system message if any, then user and assistant in
turns, the assistant last. Other keys may be there and say nothing. Standard library only.
"""

import json
from typing import Any, Literal, TypedDict

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


class LineError(ValueError):
    """A line can't be used; the message is the reason, without the line's number."""


def parse(line: bytes) -> list[Message]:
    """The messages of a line, which can be trained on as they are.

    Raises:
        LineError: they can't.

    """
    messages = _messages(_json(line))
    roles = [_role(number, message) for number, message in enumerate(messages, start=1)]
    for number, message in enumerate(messages, start=1):
        _check_content(f"message {number} ({message['role']})", message)
    _check_order(roles)
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _json(line: bytes) -> Any:
    try:
        text = line.decode("utf-8-sig")  # editors of some systems begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise LineError(f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start + 1}") from error
    if not text.strip():
        raise LineError("empty")
    if text.lstrip().startswith("["):
        raise LineError("a JSON array; one object a line is needed, as `jq -c '.[]' FILE` writes them")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise LineError(f"broken JSON at column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
        raise LineError(f"JSON that can't be read: {error}") from error


def _messages(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        raise LineError(f"not a JSON object but {_kind(value)}")
    if "messages" not in value:
        raise LineError(f'no "messages"; its keys are {_short(", ".join(map(repr, value))) or "none"}')
    messages = value["messages"]
    if not isinstance(messages, list):
        raise LineError(f'"messages" is {_kind(messages)}, not a list')
    if not messages:
        raise LineError('"messages" is an empty list')
    return messages


def _role(number: int, message: Any) -> str:
    if not isinstance(message, dict):
        raise LineError(f"message {number} is {_kind(message)}, not an object")
    role = message.get("role")
    if role not in ROLES:
        found = f"unknown role {_short(repr(role))}" if "role" in message else "no role"
        raise LineError(f"message {number} has {found}; roles are {', '.join(ROLES)}")
    return str(role)


def _check_content(which: str, message: dict[str, Any]) -> None:
    content = message.get("content")
    if not isinstance(content, str):
        raise LineError(
            f"{which} has {'no' if content is None else _kind(content) + ' as'} content; it must be a string"
        )
    if message["role"] == "assistant" and not content.strip():
        raise LineError(f"{which} is empty: there is nothing to learn from it")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        code = ord(content[error.start])
        raise LineError(f"{which} holds half a character, \\u{code:04x} at position {error.start + 1}") from error


def _check_order(roles: list[str]) -> None:
    turns = roles[1:] if roles[0] == "system" else roles
    first = len(roles) - len(turns) + 1
    for number, role in enumerate(turns, start=first):
        expected = ("user", "assistant")[(number - first) % 2]
        if role == "system":
            raise LineError(f"roles out of order: message {number} is a system message; only the first can be one")
        if role != expected:
            raise LineError(f"roles out of order: message {number} is the {role}'s where the {expected}'s is due")
    if roles[-1] != "assistant":
        raise LineError(f"the last message is the {roles[-1]}'s; it must be the assistant's, which is trained on")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return kinds[type(value)]


def _short(text: str) -> str:
    """What a file says goes into a message that is bounded."""
    return text if len(text) <= 60 else f"{text[:60]}…"
