"""``hunyuan check-data``: what the stage ``check`` says of a training file, before anything is uploaded."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from hunyuan_cli.extras import MissingExtra


@click.command("check-data")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--tokenizer",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The base model's folder, or another with its tokenizer (tokenizer.json or hy.tiktoken).",
)
@click.option("--max-seq-length", type=click.IntRange(min=1), help="Refuse conversations of more tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_data(file: Path, folder: Path, max_seq_length: int | None, *, as_json: bool) -> None:
    """Check every line of a training FILE, and count what is trained on.

    Exit code 2 when a line can't be used.
    """
    try:
        from transformers import AutoTokenizer  # noqa: PLC0415 - only for this command

        from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer  # noqa: PLC0415 - likewise
        from hunyuan_runtime.termination import RuntimeFailure  # noqa: PLC0415 - likewise
        from hunyuan_runtime.train.data import ChatEncoder  # noqa: PLC0415 - likewise
        from hunyuan_runtime.train.data.inspection import inspect, report_of  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise MissingExtra(error, "serve") from error
    try:
        with tempfile.TemporaryDirectory(prefix="hunyuan-tokenizer-") as scratch:
            tokenizer = AutoTokenizer.from_pretrained(prepare_tokenizer(folder, Path(scratch, "tokenizer")))
        report = report_of(inspect(file, ChatEncoder(tokenizer), max_seq_length))
    except (OSError, ValueError, RuntimeFailure) as error:
        click.echo(f"hunyuan: {error}", err=True)
        sys.exit(2)
    click.echo(json.dumps(report, ensure_ascii=False) if as_json else text_of(report))
    if faulty := report["faulty_lines"]:
        click.echo(f"hunyuan: {file}: {faulty} of {report['lines']} lines can't be used", err=True)
        sys.exit(2)


def text_of(report: dict[str, Any]) -> str:
    """For people: faults first, then figures, then the lengths as bars."""
    lines = [f"line {fault['line']}: {fault['reason']}" for fault in report["faults"]]
    if unnamed := report["faulty_lines"] - len(report["faults"]):
        lines += [f"and {unnamed} more"]
    if not report["examples"]:
        return "\n".join(lines)
    lines += [
        f"{report['examples']} examples, {report['turns']} answers, {report['tokens']} tokens, "
        f"{report['trained_tokens']} of them trained on",
        f"tokens of an example: {', '.join(f'{name} {length}' for name, length in report['lengths'].items())}",
    ]
    most = max(bucket["examples"] for bucket in report["histogram"])
    for bucket in report["histogram"]:
        bar = "█" * -(-40 * bucket["examples"] // most)
        lines += [f"  up to {bucket['up_to']:>7} {bucket['examples']:>8} {bar}".rstrip()]
    return "\n".join(lines)
