"""hy.tiktoken → a folder that AutoTokenizer loads without remote code."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from hunyuan_runtime.tokenizer.template import CHAT_TEMPLATE
from hunyuan_runtime.tokenizer.vocabulary import (
    SPECIAL_TOKENS,
    SPLIT_PATTERN,
    TokenizerError,
    Vocabulary,
    byte_characters,
)

SOURCE = "hy.tiktoken"
MODEL_MAX_LENGTH = 1048576
WRITTEN = ("tokenizer.json", "tokenizer_config.json")


def convert(folder: Path, out: Path | None = None) -> Path:
    """Write tokenizer.json and tokenizer_config.json for ``folder``'s hy.tiktoken into ``out`` and return it.

    ``out`` defaults to ``folder`` itself, whose own tokenizer_config.json is kept beside as ``.orig``. Other files of
    ``out`` stay as they are. Each file appears whole or not at all.

    Raises:
        TokenizerError: the folder or its vocabulary can't be used; nothing was written.
    """
    out = out or folder
    model_max_length = _model_max_length(folder / "tokenizer_config.json")
    vocabulary = Vocabulary.read(folder / SOURCE)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".convert-") as scratch:
        build(vocabulary).save(str(Path(scratch, "tokenizer.json")), pretty=False)
        config = tokenizer_config(model_max_length)
        text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        Path(scratch, "tokenizer_config.json").write_text(text, encoding="utf-8")
        original = out / "tokenizer_config.json"
        if original.exists() and "HYTokenizer" in original.read_text(encoding="utf-8"):
            shutil.copy2(original, original.with_suffix(".json.orig"))
        for name in WRITTEN:
            os.replace(Path(scratch, name), out / name)  # noqa: PTH105 - the atomic one
    return out


def _model_max_length(path: Path) -> int:
    """The published configuration's limit; it is also what tells a tokenizer folder from another."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TokenizerError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise TokenizerError(f"{path}: is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise TokenizerError(f"{path}: expected a JSON object")
    limit = config.get("model_max_length", MODEL_MAX_LENGTH)
    if not isinstance(limit, int) or limit < 1:
        raise TokenizerError(f"{path}: model_max_length must be a positive integer, found {limit!r}")
    return limit


def build(vocabulary: Vocabulary) -> Tokenizer:
    """Byte-level BPE that gives the published tokenizer's ids, with the special tokens behind the last rank."""
    characters = byte_characters()

    def name(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    ranks = {name(token): rank for rank, token in enumerate(vocabulary.tokens)}
    merges = [(name(left), name(right)) for left, right in vocabulary.merges()]
    tokenizer = Tokenizer(BPE(vocab=ranks, merges=merges, ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(special, normalized=False, special=True) for special in SPECIAL_TOKENS])
    return tokenizer


def tokenizer_config(model_max_length: int = MODEL_MAX_LENGTH) -> dict[str, Any]:
    """tokenizer_config.json. The end of an answer is ``<|eos|>``, not the class default ``<|endoftext|>``."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model_max_length,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|eos|>",
        "pad_token": "<|pad|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
