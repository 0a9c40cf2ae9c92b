"""Lines by number, as they stand in the file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.data import conversations, lines
from hunyuan_runtime.train.data.lines import Lines
from tests.unit.train_data.conversations import assistant, line, user, write


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines") / "file"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n \n\r\n\t", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb\r\n\r\n", [b"a", b"b"]),
        (b"\n\na\n\n", [b"", b"", b"a"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        ("a\u2028b\x0bc\x85".encode(), ["a\u2028b\x0bc\x85".encode()]),
    ],
)
def test_lines_end_with_a_line_feed_and_blank_ones_at_the_end_are_none(
    file: Path, content: bytes, expected: list[bytes]
) -> None:
    file.write_bytes(content)
    found = Lines(file)
    assert [found[index] for index in range(len(found))] == list(found) == expected


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b" ", b"\x00", "海".encode()])).map(b"".join), st.integers(1, 9))
def test_however_the_file_is_read_the_lines_are_the_same(file: Path, content: bytes, block: int) -> None:
    file.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK", block)
        found = Lines(file)
    expected = [part.rstrip(b"\r") for part in content.split(b"\n")]
    while expected and not expected[-1].strip():
        expected.pop()
    assert [found[index] for index in range(len(found))] == list(found) == expected


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("car/train.json", "car/train.json doesn't exist; {root}/car holds a.jsonl, b/"),
        ("cars/x/train.jsonl", "cars/x/train.jsonl doesn't exist; {root} holds car/"),
        ("car/b", "car/b is a folder, not a file; {root}/car/b holds nothing"),
        ("car/a.jsonl/x", "car/a.jsonl/x can't be read as user "),
    ],
)
def test_what_is_there_instead_is_said(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "car/b").mkdir(parents=True)
    write(tmp_path / "car/a.jsonl", "x")
    with pytest.raises(RuntimeFailure) as failure:
        Lines(tmp_path / path)
    assert failure.value.cause is Cause.DataNotFound
    assert words.format(root=tmp_path) in str(failure.value)


def test_a_crowded_folder_is_not_listed_whole(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"{number:02}", "x")
    with pytest.raises(RuntimeFailure, match=r"holds 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, …$"):
        Lines(tmp_path / "train.jsonl")


def test_conversations_come_with_the_numbers_of_their_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "file", *(line(user(f"{number}"), assistant("x")) for number in (1, 2)), "", " ")
    assert [(number, messages[0]["content"]) for number, messages in conversations(file)] == [(1, "1"), (2, "2")]


def test_the_first_bad_line_ends_the_conversations(tmp_path: Path) -> None:
    file = write(tmp_path / "file", line(user("1"), assistant("x")), "", line(user("3"), assistant("x")))
    with pytest.raises(RuntimeFailure, match=r"file, line 2: empty$") as failure:
        list(conversations(file))
    assert failure.value.cause is Cause.DataInvalid
