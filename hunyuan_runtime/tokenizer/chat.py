"""Encode a chat so that what people write never becomes a control token.

A chat template is rendered to text and the text is encoded. If a user writes ``<|eos|>``, the text holds the name of a
control token and encoding makes one of it. Here the template is rendered around placeholders instead: its own parts are
encoded with control tokens, the contents without. Control tokens bound every content on both sides, so the ids of an
innocent chat are those of its text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

PLACEHOLDER = re.compile("\ue000([0-9]+)\ue001")


def chat_parts(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[str | int]:
    """The template's own text, and in place of each content that isn't empty the number of its message.

    It depends on roles, and on which contents are empty, not on what they say. ``options`` go to the tokenizer's
    ``apply_chat_template``.

    Raises:
        jinja2.TemplateError: the template refuses the messages (an unknown role, a second system message).
    """
    marked = [
        {**message, "content": f"\ue000{index}\ue001" if message.get("content") else ""}
        for index, message in enumerate(messages)
    ]
    rendered = tokenizer.apply_chat_template(marked, **{**options, "tokenize": False})
    # A split by one group yields template text and content numbers in turn.
    split = PLACEHOLDER.split(rendered)
    return [int(part) if position % 2 else part for position, part in enumerate(split) if part]


def encode_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
    """Token ids of a chat. ``options`` and errors are those of :func:`chat_parts`."""
    ids: list[int] = []
    for part in chat_parts(tokenizer, messages, **options):
        content = isinstance(part, int)
        text = str(messages[part]["content"]) if isinstance(part, int) else part
        ids += tokenizer.encode(text, add_special_tokens=False, split_special_tokens=content)
    return ids
