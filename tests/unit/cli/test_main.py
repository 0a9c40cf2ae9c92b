"""The command line: quick help, one line for an error, JSON where asked for."""

import base64
import json
from pathlib import Path

from click.testing import CliRunner
from hunyuan_cli.main import main


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, args)
    return result.exit_code, result.stdout, result.stderr


def test_help_names_every_command() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert {"convert-tokenizer", "tiny-model"} <= set(out.split())


def test_a_folder_that_is_no_tokenizer_is_one_line_and_code_2(tmp_path: Path) -> None:
    code, out, err = run("convert-tokenizer", str(tmp_path))
    assert (code, out) == (2, "")
    assert err.startswith("hunyuan: ")
    assert "tokenizer_config.json" in err
    assert err.count("\n") == 1


def test_a_tokenizer_is_converted_and_said_in_json(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)]
    (tmp_path / "hy.tiktoken").write_text("\n".join(lines))
    code, out, _ = run("convert-tokenizer", str(tmp_path), str(tmp_path / "out"), "--json")
    assert (code, json.loads(out)) == (0, {"path": str(tmp_path / "out")})
    assert (tmp_path / "out/tokenizer.json").exists()


def test_a_tiny_model_never_replaces_something_else(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    code, _, err = run("tiny-model", str(tmp_path))
    assert code == 2
    assert "holds something other than a tiny model" in err
    assert (tmp_path / "mine").read_text() == "precious"
