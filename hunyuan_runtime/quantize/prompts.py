"""Prompts to calibrate with, as token ids.

A file has one prompt a line: text, which is asked as a user would, or a chat as JSON, ``{"messages": [...]}``, as in
training data. Chats with answers are better: the model's own turns go through it, too.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.tokenizer import encode_chat

LONGEST = 2048
"""Tokens of a prompt; what is beyond is cut off."""

DEFAULT = (
    "What is the capital of France, and what is it known for?",
    "请按面积从大到小排列四大洋，并各用一句话介绍。",
    "Write a Python function that returns the n-th Fibonacci number, and explain its complexity.",
    "一个水池有两个进水管和一个出水管，单开分别需要6小时、8小时注满，12小时放空。三管齐开，几小时注满？",
    "Translate into Chinese: 'The early bird catches the worm, but the second mouse gets the cheese.'",
    "Explain to a child why the sky is blue and why sunsets are red.",
    "写一首关于秋天的七言绝句，并解释其中的意象。",
    "List three advantages and three disadvantages of remote work in a table with a short reason for each.",
    '{"name": "pump-7", "pressure": [2.1, 2.4, 9.8, 2.2], "unit": "bar"} Which value is an outlier, and why?',
    "Let f(x) = x³ - 3x + 1. Find all local extrema and sketch the argument step by step.",
    "SELECT name, SUM(amount) FROM orders GROUP BY name; Rewrite this query to show only sums above 1000.",
    "Summarise in two sentences: The river rose all night. By morning the bridge was gone, the mill stood in water up "
    "to its windows, and the people of the lower town had carried what they could up to the church.",
)
"""For a first try. Scales are as good as the prompts are like those that will be served."""


def read_prompts(folder: Path, file: Path | None = None) -> list[list[int]]:
    """The prompts of a file, or the default ones, in the tokens of the model in ``folder``.

    Raises:
        ValueError: a line can't be understood; the message names it.
        RuntimeFailure: the model has no tokenizer.

    """
    lines = DEFAULT if file is None else file.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory(prefix="hunyuan-tokenizer-") as scratch:
        tokenizer: Any = AutoTokenizer.from_pretrained(prepare_tokenizer(folder, Path(scratch, "tokenizer")))
        return [ids[:LONGEST] for ids in _encoded(lines, tokenizer, str(file or "default prompts"))]


def _encoded(lines: Iterable[str], tokenizer: Any, where: str) -> Iterable[list[int]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield encode_chat(tokenizer, _messages(line))
        except Exception as error:  # a chat template raises what it likes
            raise ValueError(f"{where}, line {number}: {error}") from error


def _messages(line: str) -> list[dict[str, Any]]:
    try:
        chat = json.loads(line)
    except ValueError:
        chat = None
    if isinstance(chat, dict) and isinstance(chat.get("messages"), list):
        messages: list[dict[str, Any]] = chat["messages"]
        return messages
    return [{"role": "user", "content": line}]
