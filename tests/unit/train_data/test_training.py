"""The order of examples, packing, and batches that the model reads as if every conversation were alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hunyuan_runtime.model import HunYuanForCausalLM
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.data import Example, TrainingData, collate
from hunyuan_runtime.train.data.encoding import IGNORED
from hunyuan_runtime.train.data.order import Order
from hunyuan_runtime.train.data.packing import Packs
from tests.unit.train_data.conversations import assistant, line, numbered, user, write

COUNT, LONGEST = 23, 200


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "train.jsonl", *numbered(COUNT))


def open_data(
    file: Path, tokenizer: Any, *, packing: bool = False, seed: int = 0, limit: int = LONGEST
) -> TrainingData:
    return TrainingData(file, tokenizer, limit, packing=packing, seed=seed)


def said(example: Example, tokenizer: Any) -> list[int]:
    """The numbers that the conversations of a row say."""
    text = tokenizer.decode([label for label in example.labels if label != IGNORED])
    return [int(answer.rstrip(".")) for answer in text.split("<|eos|>")[:-1]]


@given(st.integers(1, 50), st.integers(0, 3), st.integers(0, 5))
def test_each_epoch_is_a_permutation_of_its_own(size: int, seed: int, epoch: int) -> None:
    order = Order(size, seed)
    assert sorted(order[epoch * size + place] for place in range(size)) == list(range(size))


@given(st.integers(1, 30), st.integers(0, 3), st.lists(st.integers(0, 200), max_size=30))
def test_a_position_says_the_same_whatever_was_asked_before(size: int, seed: int, asked: list[int]) -> None:
    used = Order(size, seed)
    assert [used[position] for position in asked] == [Order(size, seed)[position] for position in asked]


def test_epochs_and_seeds_differ() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        return [Order(40, seed)[number * 40 + place] for place in range(40)]

    assert len({tuple(epoch(seed, number)) for seed in (0, 1) for number in (0, 1, 2)}) == 6


@pytest.mark.parametrize("packing", [False, True])
def test_every_epoch_says_every_conversation_once(file: Path, tokenizer: Any, *, packing: bool) -> None:
    data = open_data(file, tokenizer, packing=packing)
    for epoch in range(3):
        rows = [data.example(epoch * len(data) + place) for place in range(len(data))]
        assert sorted(number for row in rows for number in said(row, tokenizer)) == list(range(COUNT))


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_a_resumed_run_on_any_number_of_ranks_sees_the_same(
    file: Path, tokenizer: Any, ranks: int, *, packing: bool
) -> None:
    batch, steps, stop = 24, 4, 2
    whole = open_data(file, tokenizer, packing=packing)
    undisturbed = [whole.example(position) for position in range(batch * steps)]
    seen: dict[int, Example] = {}
    for first, last in ((0, stop), (stop, steps)):
        for rank in range(ranks):
            data = open_data(file, tokenizer, packing=packing)
            for step in range(first, last):
                for position in range(step * batch + rank, (step + 1) * batch, ranks):
                    seen[position] = data.example(position)
    assert [seen[position] for position in range(batch * steps)] == undisturbed


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80))
def test_packs_hold_everything_once_and_nothing_too_long(lengths: list[int]) -> None:
    packs = Packs(np.array(lengths, np.int32), 40)
    rows = [packs[row] for row in range(len(packs))]
    assert sorted(member for row in rows for member in row) == list(range(len(lengths)))
    assert all(sum(lengths[member] for member in row) <= 40 for row in rows)
    assert sum(sum(lengths[member] for member in row) <= 20 for row in rows) <= 1  # two half empty rows are one


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([10], [[0]]),
        ([10, 10], [[0], [1]]),
        ([3, 7, 4, 6], [[0, 1], [2, 3]]),
        ([5, 2, 2, 8, 3], [[2, 3], [0, 1, 4]]),
    ],
)
def test_the_longest_goes_first_into_the_fullest_row_that_has_room(lengths: list[int], rows: list[list[int]]) -> None:
    packs = Packs(np.array(lengths, np.int32), 10)
    assert [packs[row] for row in range(len(packs))] == rows


def test_a_packed_row_is_its_conversations_one_behind_the_other(file: Path, tokenizer: Any) -> None:
    alone = {}
    data = open_data(file, tokenizer)
    for position in range(COUNT):
        row = data.example(position)
        [number] = said(row, tokenizer)
        alone[number] = row
    packed = open_data(file, tokenizer, packing=True)
    assert len(packed) < COUNT
    for position in range(len(packed)):
        row = packed.example(position)
        parts = [alone[number] for number in said(row, tokenizer)]
        assert row.input_ids == [token for part in parts for token in part.input_ids]
        assert row.labels == [label for part in parts for label in part.labels]
        assert row.segments == [len(part.input_ids) for part in parts]
        assert len(row.input_ids) <= LONGEST


def test_a_batch_is_padded_on_the_right() -> None:
    batch = collate([Example([5, 6, 7], [-100, 6, 7], [3]), Example([8], [8], [1])], pad_id=9)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "labels": [[-100, 6, 7], [8, -100, -100]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "position_ids": [[0, 1, 2], [0, 0, 1]],
    }


def test_positions_of_a_packed_batch_begin_anew_with_every_conversation() -> None:
    batch = collate([Example([5, 6, 7], [5, 6, 7], [2, 1]), Example([8], [8], [1])], pad_id=9)
    assert "attention_mask" not in batch  # with one transformers looks for no packed conversations
    assert batch["position_ids"].tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("packing", [False, True])
def test_in_a_batch_every_conversation_has_the_logits_that_it_has_alone(
    base_model: Path, file: Path, tokenizer: Any, attention: str, *, packing: bool
) -> None:
    model = HunYuanForCausalLM.from_pretrained(base_model, dtype=torch.float32, attn_implementation=attention)
    model.train()
    data = open_data(file, tokenizer, packing=packing)
    rows = [data.example(position) for position in range(6)]
    assert len({len(row.input_ids) for row in rows}) > 1
    assert packing == any(len(row.segments) > 1 for row in rows)
    with torch.no_grad():
        batched = model(**collate(rows, pad_id=tokenizer.pad_token_id), use_cache=False).logits
        for row, logits in zip(rows, batched, strict=True):
            start = 0
            for length in row.segments:
                ids = torch.tensor([row.input_ids[start : start + length]])
                alone = model(ids, use_cache=False).logits[0]
                torch.testing.assert_close(logits[start : start + length], alone, rtol=1e-4, atol=1e-5)
                start += length


def test_what_a_packed_batch_learns_is_what_its_conversations_teach_one_by_one(
    base_model: Path, file: Path, tokenizer: Any
) -> None:
    model = HunYuanForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    model.train()

    def gradient(rows: list[Example]) -> torch.Tensor:
        model.zero_grad()
        trained = sum(label != IGNORED for row in rows for label in row.labels)
        for row in rows:
            batch = collate([row], pad_id=tokenizer.pad_token_id)
            model(**batch, use_cache=False, num_items_in_batch=trained).loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])

    packed, alone = open_data(file, tokenizer, packing=True), open_data(file, tokenizer)
    torch.testing.assert_close(
        gradient([packed.example(position) for position in range(len(packed))]),
        gradient([alone.example(position) for position in range(len(alone))]),
        rtol=1e-3,
        atol=1e-6,
    )


@pytest.mark.parametrize("packing", [False, True])
def test_nothing_is_cut_to_fit(file: Path, tokenizer: Any, *, packing: bool) -> None:
    with pytest.raises(
        RuntimeFailure, match=r"train\.jsonl, line \d+: \d+ tokens, more than the maximum of 20"
    ) as failure:
        data = open_data(file, tokenizer, packing=packing, limit=20)
        for position in range(COUNT):
            data.example(position)
    assert failure.value.cause is Cause.DataInvalid


def test_no_file_and_an_empty_file_are_told_apart(tmp_path: Path, tokenizer: Any) -> None:
    for path, cause in ((tmp_path / "none", Cause.DataNotFound), (write(tmp_path / "empty"), Cause.DataInvalid)):
        with pytest.raises(RuntimeFailure) as failure:
            open_data(path, tokenizer)
        assert failure.value.cause is cause


def test_a_file_that_changed_meanwhile_is_an_error_with_its_line(tmp_path: Path, tokenizer: Any) -> None:
    file = write(tmp_path / "train.jsonl", *numbered(3))
    data = open_data(file, tokenizer)
    file.write_bytes(file.read_bytes()[:90])
    with pytest.raises(RuntimeFailure, match=r"train\.jsonl, line [123]: ") as failure:
        for position in range(3):
            data.example(position)
    assert failure.value.cause is Cause.DataInvalid


def test_one_conversation_is_an_epoch(tmp_path: Path, tokenizer: Any) -> None:
    data = open_data(write(tmp_path / "one", line(user("a"), assistant("7."))), tokenizer)
    assert [said(data.example(position), tokenizer) for position in (0, 1, 10**12)] == [[7]] * 3
