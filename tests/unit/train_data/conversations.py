"""Conversations to write, and strategies that make them."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from hunyuan_runtime.train.data import Message

SPECIAL = [
    "<|eos|>",
    "<|startoftext|>",
    "<|extra_0|>",
    "<|extra_4|>",
    "\ue0000\ue001",
    "\ue0001\ue001",
    "\x00",
    "\ufeff",
]


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def line(*messages: Any, **more: Any) -> str:
    return json.dumps({"messages": list(messages), **more}, ensure_ascii=False)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8", newline="")
    return path


def numbered(count: int, *, longest: int = 30) -> list[str]:
    """Conversations of different lengths, each of which says its number."""
    return [line(user("the sea " * (index * 7 % longest)), assistant(f"{index}.")) for index in range(count)]


texts = st.lists(st.sampled_from(SPECIAL) | st.text(st.characters(exclude_categories=["Cs"])), max_size=4).map("".join)
answers = texts.filter(lambda text: bool(text.strip()))


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    head = [system(draw(texts))] if draw(st.booleans()) else []
    turns = draw(st.lists(st.tuples(texts, answers), min_size=1, max_size=3))
    return head + [message for asked, answered in turns for message in (user(asked), assistant(answered))]
