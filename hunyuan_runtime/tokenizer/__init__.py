"""Hunyuan-Large's tokenizer without remote code: convert the published vocabulary once, encode chats safely."""

from hunyuan_runtime.tokenizer.chat import encode_chat
from hunyuan_runtime.tokenizer.convert import convert
from hunyuan_runtime.tokenizer.vocabulary import TokenizerError

__all__ = ["TokenizerError", "convert", "encode_chat"]
