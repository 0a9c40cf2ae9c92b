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


def encode_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
    """Token ids of a chat. ``options`` go to the tokenizer's ``apply_chat_template``.

    Raises:
        jinja2.TemplateError: the template refuses the messages (an unknown role, a second system message).
    """
    contents = [str(message.get("content") or "") for message in messages]
    marked = [
        {**message, "content": f"\ue000{index}\ue001" if contents[index] else ""}
        for index, message in enumerate(messages)
    ]
    rendered = tokenizer.apply_chat_template(marked, **{**options, "tokenize": False})
    ids: list[int] = []
    # A split by one group yields template text and content numbers in turn.
    for position, part in enumerate(PLACEHOLDER.split(rendered)):
        text = contents[int(part)] if position % 2 else part
        ids += tokenizer.encode(text, add_special_tokens=False, split_special_tokens=bool(position % 2))
    return ids
