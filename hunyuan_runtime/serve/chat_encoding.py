"""vLLM's tokenizer mode ``hunyuan``: its chat API encodes what people write without control tokens.

By itself vLLM renders a chat to text and encodes the text, so a user who writes ``<|eos|>`` ends the conversation for
the model. In this mode vLLM asks the tokenizer for token ids, and the tokenizer encodes chats as encode_chat does.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from vllm.renderers.hf import HfRenderer
from vllm.renderers.params import ChatParams
from vllm.tokenizers.hf import get_cached_tokenizer

from hunyuan_runtime.tokenizer import encode_chat


class HunYuanRenderer(HfRenderer):
    """Whatever vLLM or a request asks for, a chat becomes ids in one step, never a text that is encoded later."""

    def render_messages(self, messages: Sequence[Any], params: ChatParams) -> Any:
        return super().render_messages(messages, to_ids(params))

    async def render_messages_async(self, messages: Sequence[Any], params: ChatParams) -> Any:
        return await super().render_messages_async(messages, to_ids(params))


def to_ids(params: ChatParams) -> ChatParams:
    asked: ChatParams = replace(params, chat_template_kwargs={**params.chat_template_kwargs, "tokenize": True})
    return asked


class HunYuanTokenizer:
    """Where vLLM's registry looks for ``from_pretrained``; no instance of it is made."""

    @classmethod
    def from_pretrained(cls, path: str | Path, *args: Any, download_dir: str | None = None, **options: Any) -> Any:
        return with_safe_chats(AutoTokenizer.from_pretrained(path, *args, cache_dir=download_dir, **options))


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

        def __reduce__(self) -> Any:  # vLLM copies tokenizers for its threads
            return with_safe_chats, (tokenizer,)

    cached.__class__ = SafeChatTokenizer
    return cached
