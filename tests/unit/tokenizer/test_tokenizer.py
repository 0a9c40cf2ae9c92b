"""Converted tokenizers against the published one's recorded ids, and against an independent encoder."""

import base64
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from transformers import AutoTokenizer

from hunyuan_runtime.tokenizer import TokenizerError, convert, encode_chat
from hunyuan_runtime.tokenizer.vocabulary import SPLIT_PATTERN

DATA = Path(__file__).parents[4] / "shared/data"
MERGED = [b"th", b"he", b"the", b" t", b" the", b"in", b"ing", "海".encode()[:2], "海".encode(), "海洋".encode(), b"  "]
SYSTEM, QUESTION, ANSWER = (
    {"role": "system", "content": "the sea"},
    {"role": "user", "content": "thing 42?"},
    {"role": "assistant", "content": "海洋\n"},
)


def write_vocabulary(folder: Path, tokens: list[bytes]) -> Path:
    lines = [base64.b64encode(token) + b" " + str(rank).encode() for rank, token in enumerate(tokens)]
    (folder / "hy.tiktoken").write_bytes(b"\n".join(lines) + b"\n")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 4096, "tokenizer_class": "HYTokenizer"}')
    return folder


def small_vocabulary() -> list[bytes]:
    return [bytes([byte]) for byte in range(256)] + MERGED


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_vocabulary(tmp_path_factory.mktemp("small"), small_vocabulary())
    return AutoTokenizer.from_pretrained(convert(folder, folder / "out"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not (DATA / "hy.tiktoken").exists():
        pytest.skip("the published vocabulary is licensed and kept outside the repository (../shared/data/hy.tiktoken)")
    return AutoTokenizer.from_pretrained(convert(DATA, tmp_path_factory.mktemp("published")))


def merge_by_rank(text: str, ranks: dict[bytes, int]) -> list[int]:
    """tiktoken's algorithm: a whole piece if it is a token, else merge the neighbours whose union ranks lowest."""
    ids = []
    for piece in regex.findall(SPLIT_PATTERN, text):
        whole = piece.encode()
        parts = [whole] if whole in ranks else [bytes([byte]) for byte in whole]
        while candidates := [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
            _, i = min(candidates)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        ids += [ranks[part] for part in parts]
    return ids


def test_plain_text_has_the_published_ids(published: Any) -> None:
    cases = json.loads((DATA / "golden/tokens.json").read_text())["plain"]
    assert [published.encode(case["text"]) for case in cases] == [case["ids"] for case in cases]


def test_chats_have_the_published_text_and_ids(published: Any) -> None:
    for case in json.loads((DATA / "golden/tokens.json").read_text())["chat"]:
        assert published.apply_chat_template(case["messages"], tokenize=False) == case["text"]
        assert published.apply_chat_template(case["messages"], return_dict=False) == case["ids"]
        assert encode_chat(published, case["messages"]) == case["ids"]


def test_the_special_tokens_follow_the_last_rank(published: Any) -> None:
    names = ["<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>", "<|extra_0|>", "<|extra_203|>"]
    ids = [127957, 127958, 127959, 127960, 127961, 127962, 128165]
    assert published.convert_tokens_to_ids(names) == ids
    assert (len(published), published.eos_token_id, published.pad_token_id) == (128166, 127960, 127961)


def test_a_small_vocabulary_merges_as_tiktoken_does(small: Any) -> None:
    ranks = {token: rank for rank, token in enumerate(small_vocabulary())}
    generator = random.Random(0)
    for _ in range(500):
        text = "".join(generator.choice("the ing海洋7'\n\t 🙂é") for _ in range(generator.randrange(1, 40)))
        assert small.encode(text) == merge_by_rank(text, ranks), text
        assert small.decode(small.encode(text)) == text


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([QUESTION], "<|startoftext|>thing 42?<|extra_0|>"),
        ([SYSTEM, QUESTION], "<|startoftext|>the sea<|extra_4|>thing 42?<|extra_0|>"),
        ([{"role": "system", "content": ""}, QUESTION], "<|startoftext|>thing 42?<|extra_0|>"),
        (
            [SYSTEM, QUESTION, ANSWER, QUESTION],
            "<|startoftext|>the sea<|extra_4|>thing 42?<|extra_0|>海洋\n<|eos|><|startoftext|>thing 42?<|extra_0|>",
        ),
        ([QUESTION, QUESTION], "<|startoftext|>thing 42?<|extra_0|><|startoftext|>thing 42?<|extra_0|>"),
    ],
)
def test_the_template_writes_the_published_format(small: Any, messages: list[dict[str, str]], text: str) -> None:
    assert small.apply_chat_template(messages, tokenize=False) == text
    assert encode_chat(small, messages) == small.encode(text)


@pytest.mark.parametrize(
    ("messages", "error"),
    [([QUESTION, SYSTEM], "only the first message"), ([{"role": "tool", "content": "x"}], "role tool")],
)
def test_the_template_refuses_what_the_format_cannot_say(small: Any, messages: Any, error: str) -> None:
    with pytest.raises(Exception, match=error):
        encode_chat(small, messages)


@pytest.mark.parametrize("text", ["<|eos|>", "a<|startoftext|>b", "<|extra_0|><|extra_0|>", "\ue0000\ue001"])
def test_what_people_write_never_becomes_a_control_token(small: Any, text: str) -> None:
    ids = encode_chat(small, [{"role": "user", "content": text}])
    special = set(small.all_special_ids) | set(small.added_tokens_decoder)
    assert [token for token in ids[1:-1] if token in special] == []
    assert small.decode(ids[1:-1]) == text


def test_only_the_answer_and_its_end_are_marked_for_training(small: Any) -> None:
    out = small.apply_chat_template([QUESTION, ANSWER], return_assistant_tokens_mask=True, return_dict=True)
    marked = [token for token, mark in zip(out["input_ids"], out["assistant_masks"], strict=True) if mark]
    assert small.decode(marked) == "海洋\n<|eos|>"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (b"not a tokenizer\n", r"hy\.tiktoken:1: expected base64, a space and the rank 0"),
        (b"IQ== 0\nIg== 2\n", r"hy\.tiktoken:2: expected base64, a space and the rank 1"),
        (b"IQ== 0\nIQ== 1\n", r"hy\.tiktoken:2: the same token as in line 1"),
        (b"I*== 0\n", r"hy\.tiktoken:1: expected base64"),
        (b"IQ== 0\n", "255 of the 256 single bytes are missing"),
        (b"", "256 of the 256 single bytes are missing"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_and_nothing_is_written(
    tmp_path: Path, broken: bytes, error: str
) -> None:
    write_vocabulary(tmp_path, []).joinpath("hy.tiktoken").write_bytes(broken)
    with pytest.raises(TokenizerError, match=error):
        convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_broken_configuration_are_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json: can't be read"):
        convert(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json: is not JSON"):
        convert(tmp_path)


def test_converting_in_place_keeps_the_published_configuration(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, small_vocabulary())
    assert convert(tmp_path) == tmp_path
    assert "HYTokenizer" in (tmp_path / "tokenizer_config.json.orig").read_text()
    convert(tmp_path)
    assert "HYTokenizer" in (tmp_path / "tokenizer_config.json.orig").read_text()
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 4096
