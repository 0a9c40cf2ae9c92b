"""Prompts come as lines of text or as chats, and end up as tokens of the model."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from hunyuan_runtime.quantize.prompts import DEFAULT, LONGEST, read_prompts
from hunyuan_runtime.termination import RuntimeFailure
from hunyuan_runtime.tiny.model import train_vocabulary
from hunyuan_runtime.tokenizer import encode_chat
from hunyuan_runtime.tokenizer.convert import build, tokenizer_config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the tiny model's tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    build(train_vocabulary()).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(2048), ensure_ascii=False))
    return folder


def read(model: Path, folder: Path, *lines: str) -> list[list[int]]:
    file = folder / "prompts.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_prompts(model, file)


def test_a_line_is_what_a_user_asks_and_json_is_a_chat(model: Path, tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    chat = [{"role": "user", "content": "海水为什么是咸的？"}, {"role": "assistant", "content": "因为含盐。"}]
    asked = ["What is twelve?", '{"not": "a chat"}']
    assert read(model, tmp_path, asked[0], "", json.dumps({"messages": chat}), asked[1]) == [
        encode_chat(tokenizer, [{"role": "user", "content": asked[0]}]),
        encode_chat(tokenizer, chat),
        encode_chat(tokenizer, [{"role": "user", "content": asked[1]}]),
    ]


def test_a_long_prompt_is_cut(model: Path, tmp_path: Path) -> None:
    assert len(read(model, tmp_path, "ab" * 4 * LONGEST)[0]) == LONGEST


def test_without_a_file_there_are_some(model: Path) -> None:
    assert len(read_prompts(model)) == len(DEFAULT)


@pytest.mark.parametrize("messages", [[{"role": "nobody"}, {"role": "nobody"}], ["text"]])
def test_a_line_that_is_no_chat_is_named(messages: list[object], model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prompts\.txt, line 2: "):
        read(model, tmp_path, "fine", json.dumps({"messages": messages}))


def test_a_model_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"neither tokenizer\.json nor hy\.tiktoken"):
        read_prompts(tmp_path)
