"""A whole file, whatever is in it: what the check lets pass can be trained on to the last line, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train import data
from hunyuan_runtime.train.data import ChatEncoder, TrainingData, reading
from hunyuan_runtime.train.data.conversation import LineError, parse
from hunyuan_runtime.train.data.inspection import Inspection, inspect, refuse_faulty, report_of
from tests.unit.train_data.conversations import SPECIAL, assistant, conversations, line, numbered, user, write

LIMIT = 60
HOSTILE = [
    line(user("".join(SPECIAL)), assistant("".join(SPECIAL))).encode(),
    line(user("x" * 70), assistant("y")).encode(),
    b"\xef\xbb\xbf" + line(user("a"), assistant("b")).encode(),
    line(user("a\u2028b\x85"), assistant("\x00")).encode(),
    line(user("a"), assistant("\u200b")).encode(),
    b'{"messages": [{"role": "user", "content": "\\udc00"}, {"role": "assistant", "content": "x"}]}',
    b'{"messages": [{"role": "user", "content": "\\u0000"}, {"role": "assistant", "content": "\\ud83d\\ude42"}]}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": NaN}]}',
    b'{"messages": []}',
    b"\xff\xfe",
    b"\x00",
    b"",
    b" ",
]
lines = st.sampled_from(HOSTILE) | conversations().map(lambda messages: line(*messages).encode())
ends = st.sampled_from([b"\n", b"\r\n"])


@pytest.fixture(scope="module")
def encoder(tokenizer: Any) -> ChatEncoder:
    return ChatEncoder(tokenizer)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inspection") / "file"


def faulty(content: list[bytes], encoder: ChatEncoder) -> list[int]:
    """Told line by line, by other means than the inspection's batches."""
    found = []
    for number, text in enumerate(content, start=1):
        try:
            [encoded] = encoder.encode([parse(text)])
        except LineError:
            found.append(number)
        else:
            if len(encoded.input_ids) > LIMIT:
                found.append(number)
    return found


@given(st.lists(lines, min_size=1, max_size=12), ends, st.sampled_from([b"", b"\n", b"\r\n \n\n"]))
def test_what_passes_can_be_trained_on_and_what_does_not_is_named(
    file: Path, encoder: ChatEncoder, tokenizer: Any, content: list[bytes], end: bytes, tail: bytes
) -> None:
    file.write_bytes(end.join(content) + tail)
    while content and not content[-1].strip():
        content.pop()
    if not content:
        with pytest.raises(RuntimeFailure, match="is empty"):
            inspect(file, encoder, LIMIT)
        return
    found = inspect(file, encoder, LIMIT)
    assert [fault.line for fault in found.faults] == faulty(content, encoder)
    if found.fault_count:
        with pytest.raises(RuntimeFailure) as failure:
            refuse_faulty(found)
        assert failure.value.cause is Cause.DataInvalid
        return
    refuse_faulty(found)
    assert [number for number, _ in data.conversations(file)] == list(range(1, len(content) + 1))
    for packing in (False, True):
        trained = TrainingData(file, tokenizer, LIMIT, packing=packing, seed=0)
        examples = [trained.example(position) for position in range(len(trained))]
        assert sum(len(example.input_ids) for example in examples) == found.tokens
        assert sum(label != -100 for example in examples for label in example.labels) == found.trained_tokens


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200))
def test_lengths_are_counted_in_buckets_that_hold_them(lengths: list[int]) -> None:
    found = Inspection(path=Path("x"), lines=len(lengths), max_seq_length=None)
    found.lengths.extend(lengths)
    report = report_of(found)
    counted, start = [], 0
    for bucket in report["histogram"]:
        assert bucket["examples"] == sum(start < length <= bucket["up_to"] for length in lengths)
        counted.append(bucket["examples"])
        start = bucket["up_to"]
    assert sum(counted) == len(lengths)
    assert counted[0] > 0
    assert counted[-1] > 0
    ordered = sorted(lengths)
    assert report["lengths"] == {
        "min": ordered[0],
        "p50": ordered[int(np.ceil(len(lengths) * 0.5)) - 1],
        "p90": ordered[int(np.ceil(len(lengths) * 0.9)) - 1],
        "p99": ordered[int(np.ceil(len(lengths) * 0.99)) - 1],
        "max": ordered[-1],
    }


@pytest.mark.parametrize("limit", ["BATCH", "BATCH_CHARACTERS"])
def test_the_size_of_a_batch_shows_nowhere_but_in_the_progress(
    file: Path, encoder: ChatEncoder, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    write(file, *numbered(40), "{}", *numbered(9))
    whole = report_of(inspect(file, encoder, LIMIT))
    monkeypatch.setattr(reading, limit, 7)
    seen: list[tuple[int, int]] = []
    assert report_of(inspect(file, encoder, LIMIT, lambda done, total: seen.append((done, total)))) == whole
    assert seen == sorted(seen)
    assert len(seen) > 5
    assert seen[-1] == (50, 50)
