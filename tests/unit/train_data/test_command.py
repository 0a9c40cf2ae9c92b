"""``hunyuan check-data``: figures and bars for people, JSON for programs, exit code 2 for bad lines."""

import json
from pathlib import Path

from click.testing import CliRunner
from hunyuan_cli.main import main

from tests.unit.train_data.conversations import numbered, write


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["check-data", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


def test_a_good_file_is_described(tmp_path: Path, tokenizer_folder: Path) -> None:
    file = write(tmp_path / "train.jsonl", *numbered(30))
    code, out, err = run(file, "--tokenizer", tokenizer_folder)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "30 examples, 30 answers, 2374 tokens, 110 of them trained on",
        "tokens of an example: min 5, p50 76, p90 136, p99 152, max 152",
        f"  up to       8        1 {'█' * 4}",
        f"  up to      16        1 {'█' * 4}",
        f"  up to      32        4 {'█' * 13}",
        f"  up to      64        6 {'█' * 19}",
        f"  up to     128       13 {'█' * 40}",
        f"  up to     256        5 {'█' * 16}",
    ]


def test_bad_lines_are_listed_and_end_with_code_2(tmp_path: Path, tokenizer_folder: Path) -> None:
    file = write(tmp_path / "train.jsonl", "{}", *numbered(30), *["3"] * 25)
    code, out, err = run(file, "--tokenizer", tokenizer_folder, "--max-seq-length", 150)
    assert code == 2
    assert err == f"hunyuan: {file}: 27 of 56 lines can't be used\n"
    assert out.splitlines()[0] == 'line 1: no "messages"; its keys are none'
    assert "line 32: not a JSON object but a number" in out.splitlines()
    assert "and 7 more" in out.splitlines()


def test_the_report_as_json(tmp_path: Path, tokenizer_folder: Path) -> None:
    file = write(tmp_path / "train.jsonl", "3", *numbered(3))
    code, out, _ = run(file, "--tokenizer", tokenizer_folder, "--json")
    report = json.loads(out)
    assert (code, report["lines"], report["examples"], report["faulty_lines"]) == (2, 4, 3, 1)
    assert report["faults"] == [{"line": 1, "reason": "not a JSON object but a number"}]


def test_a_file_without_a_usable_line_has_no_figures(tmp_path: Path, tokenizer_folder: Path) -> None:
    file = write(tmp_path / "train.jsonl", "3")
    assert run(file, "--tokenizer", tokenizer_folder)[:2] == (2, "line 1: not a JSON object but a number\n")


def test_what_is_not_there_is_one_line(tmp_path: Path, tokenizer_folder: Path) -> None:
    code, out, err = run(tmp_path / "train.jsonl", "--tokenizer", tokenizer_folder)
    assert (code, out) == (2, "")
    assert err == f"hunyuan: {tmp_path}/train.jsonl doesn't exist; {tmp_path} holds nothing\n"
    code, out, err = run(write(tmp_path / "train.jsonl", *numbered(1)), "--tokenizer", tmp_path)
    assert (code, out) == (2, "")
    assert err == f"hunyuan: {tmp_path} holds neither tokenizer.json nor hy.tiktoken\n"
