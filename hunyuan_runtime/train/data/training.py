"""The training file as an endless, deterministic sequence of examples, and examples as a batch.

Memory a line: 8 bytes of index and 8 of order (:mod:`.lines`, :mod:`.order`); with packing 4 more of length and 16 of
packs. Nothing of the text is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.data.encoding import IGNORED, ChatEncoder, Encoded
from hunyuan_runtime.train.data.lines import Lines
from hunyuan_runtime.train.data.order import Order
from hunyuan_runtime.train.data.packing import Packs
from hunyuan_runtime.train.data.reading import conversations, in_batches, parse_line


@dataclass(frozen=True)
class Example:
    """A row: one conversation, or with packing several of which ``segments`` are the lengths. Labels aren't shifted."""

    input_ids: list[int]
    labels: list[int]
    segments: list[int]


class TrainingData:
    """Examples by their global position; ``len()`` is the number of an epoch.

    Nothing is ever cut: the stage check refuses a file with a conversation longer than ``max_seq_length``, and so does
    this. With ``packing`` the whole file is encoded once at the start, to know the lengths.

    Raises:
        RuntimeFailure: ``DataNotFound``, or ``DataInvalid`` with the line.

    """

    def __init__(self, path: Path, tokenizer: Any, max_seq_length: int, *, packing: bool, seed: int) -> None:
        self._lines = Lines(path)
        if not len(self._lines):
            raise RuntimeFailure(Cause.DataInvalid, f"{path} is empty")
        self._encoder = ChatEncoder(tokenizer)
        self._max_seq_length = max_seq_length
        self._packs = Packs(self._lengths(), max_seq_length) if packing else None
        self._order = Order(len(self), seed)

    def __len__(self) -> int:
        return len(self._lines) if self._packs is None else len(self._packs)

    def example(self, position: int) -> Example:
        """What stands at ``position`` of the endless order, whoever asks and whatever was asked before."""
        index = self._order[position]
        rows = [self._conversation(member) for member in ([index] if self._packs is None else self._packs[index])]
        return Example(
            input_ids=[token for row in rows for token in row.input_ids],
            labels=[label for row in rows for label in row.labels],
            segments=[len(row.input_ids) for row in rows],
        )

    def _conversation(self, index: int) -> Encoded:
        messages = parse_line(self._lines.path, index + 1, self._lines[index])
        [encoded] = self._encoder.encode([messages])
        self._check_length(index + 1, encoded)
        return encoded

    def _lengths(self) -> NDArray[np.int32]:
        lengths = np.zeros(len(self._lines), np.int32)
        for batch in in_batches(conversations(self._lines.path)):
            encoded = self._encoder.encode([messages for _, messages in batch])
            for (number, _), conversation in zip(batch, encoded, strict=True):
                self._check_length(number, conversation)
                lengths[number - 1] = len(conversation.input_ids)
        return lengths

    def _check_length(self, number: int, encoded: Encoded) -> None:
        if (length := len(encoded.input_ids)) > self._max_seq_length:
            where = f"{self._lines.path}, line {number}"
            raise RuntimeFailure(
                Cause.DataInvalid, f"{where}: {length} tokens, more than the maximum of {self._max_seq_length}"
            )


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, Tensor]:
    """``input_ids``, ``labels``, ``position_ids`` and, without packing, ``attention_mask``: all [examples, longest].

    Positions begin anew with every conversation. From that transformers' masks see where one ends, so that packed ones
    don't attend to each other, but only where there is no ``attention_mask`` and no cache: call the model with
    ``use_cache=False``. Padding stands behind all that is real, so causal attention needs no mask of it.
    """
    width = max(len(example.input_ids) for example in examples)
    rows = [_padded(example, width, pad_id) for example in examples]
    batch = {
        "input_ids": torch.tensor([row.input_ids for row in rows]),
        "labels": torch.tensor([row.labels for row in rows]),
        "position_ids": torch.tensor([[at for length in row.segments for at in range(length)] for row in rows]),
    }
    if all(len(example.segments) == 1 for example in examples):
        lengths = torch.tensor([len(example.input_ids) for example in examples])
        batch["attention_mask"] = (torch.arange(width) < lengths[:, None]).long()
    return batch


def _padded(example: Example, width: int, pad_id: int) -> Example:
    """Padding is a segment of its own."""
    missing = width - len(example.input_ids)
    return Example(
        input_ids=example.input_ids + [pad_id] * missing,
        labels=example.labels + [IGNORED] * missing,
        segments=[*example.segments, missing],
    )
