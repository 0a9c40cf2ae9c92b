"""Tokenizer mode ``hunyuan`` of vLLM: its chat API encodes what people write without control tokens.

vLLM renders a chat to text and encodes the text, so a user who writes ``<|eos|>`` ends the conversation for the model.
With this mode the tokenizer that vLLM renders with encodes chats as encode_chat does; all else is transformers' own.
"""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from vllm.tokenizers.hf import get_cached_tokenizer

from hunyuan_runtime.tokenizer import encode_chat


def with_safe_chats(tokenizer: Any) -> Any:
    """The tokenizer, whose ``apply_chat_template`` now returns ids that no content can forge."""

    cached: Any = get_cached_tokenizer(tokenizer)
    base: Any = type(cached)

    class SafeChatTokenizer(base):  # known only when a checkpoint is read
        def apply_chat_template(self, conversation: Any, *, tokenize: bool = True, **options: Any) -> Any:
            if not tokenize:
                return super().apply_chat_template(conversation, tokenize=False, **options)
            options.pop("return_dict", None)
            return encode_chat(tokenizer, conversation, **options)

        def __reduce__(self) -> Any:
            return with_safe_chats, (tokenizer,)

    cached.__class__ = SafeChatTokenizer
    return cached


class HunYuanTokenizer:
    """Where vLLM's registry looks for ``from_pretrained``; no instance of it is made."""

    @classmethod
    def from_pretrained(cls, path: str | Path, *args: Any, download_dir: str | None = None, **options: Any) -> Any:
        return with_safe_chats(AutoTokenizer.from_pretrained(path, *args, cache_dir=download_dir, **options))
