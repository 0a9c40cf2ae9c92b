"""Conversations → token ids and labels, the same ids that the server makes of the same messages.

Trained on are the assistant's tokens and the end token behind each of its turns, and nothing else: neither the token
before an answer (it belongs to the question) nor anything that a user wrote, whatever control tokens it spells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.tokenizer.chat import chat_parts, encode_chat
from hunyuan_runtime.train.data.conversation import Message

IGNORED = -100
"""The label of a token that isn't trained on (torch's ``ignore_index``)."""

_SHAPES = 1024
"""Sequences of roles whose template text is kept encoded."""


@dataclass(frozen=True)
class Encoded:
    """Ids and labels of a conversation, equally long; labels aren't shifted."""

    input_ids: list[int]
    labels: list[int]


class ChatEncoder:
    """Encodes many conversations at once: the template is rendered once for each sequence of roles.

    Raises:
        RuntimeFailure: ``TokenizerInvalid``: the chat template can't be trained with.

    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._layout = lru_cache(_SHAPES)(self._render)
        self._check_template()

    def encode(self, conversations: Sequence[Sequence[Message]]) -> list[Encoded]:
        """In the order given; none may be empty."""
        contents = [message["content"] for messages in conversations for message in messages]
        if not contents:
            return []
        ids = self._tokenizer(
            contents, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False
        )["input_ids"]
        rest = iter(ids)
        return [self._assemble(messages, list(islice(rest, len(messages)))) for messages in conversations]

    def _assemble(self, messages: Sequence[Message], contents: list[list[int]]) -> Encoded:
        input_ids: list[int] = []
        labels: list[int] = []
        answered = False
        for part in self._layout(tuple((message["role"], bool(message["content"])) for message in messages)):
            if isinstance(part, int):
                answered = messages[part]["role"] == "assistant"
                ids = contents[part]
                labels += ids if answered else [IGNORED] * len(ids)
            else:
                ids = list(part)
                labels += (ids[:1] if answered else [IGNORED]) + [IGNORED] * (len(ids) - 1)
                answered = False
            input_ids += ids
        return Encoded(input_ids, labels)

    def _render(self, shape: tuple[tuple[str, bool], ...]) -> list[tuple[int, ...] | int]:
        """The template's text as ids, and the numbers of the messages between it."""
        messages = [{"role": role, "content": "x" if said else ""} for role, said in shape]
        return [
            part if isinstance(part, int) else tuple(self._tokenizer.encode(part, add_special_tokens=False))
            for part in chat_parts(self._tokenizer, messages)
        ]

    def _check_template(self) -> None:
        """It is the checkpoint's own: what is promised above holds only where it fits."""
        question: Message = {"role": "user", "content": "a"}
        answer: Message = {"role": "assistant", "content": "b"}
        try:
            asked = encode_chat(self._tokenizer, [question], add_generation_prompt=True)
            [encoded] = self.encode([[question, answer, question, answer]])
        except Exception as error:  # a template raises what it likes
            raise RuntimeFailure(Cause.TokenizerInvalid, f"the chat template can't be used: {error}") from error
        trained = [label for label in encoded.labels if label != IGNORED]
        end = self._tokenizer.eos_token_id
        if trained.count(end) != 2 or trained[-1] != end:
            raise RuntimeFailure(
                Cause.TokenizerInvalid,
                f"the chat template doesn't end an answer with eos_token {self._tokenizer.eos_token!r}",
            )
        if encoded.input_ids[: len(asked)] != asked or encoded.labels[len(asked)] == IGNORED:
            raise RuntimeFailure(
                Cause.TokenizerInvalid, "what the chat template puts before an answer isn't what it asks for one with"
            )
