"""``hunyuan``: thin commands around the runtime. Heavy packages are imported by the command that needs them."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from hunyuan_cli.bench import bench
from hunyuan_cli.chat import chat
from hunyuan_cli.check_data import check_data
from hunyuan_cli.extras import MissingExtra
from hunyuan_cli.merge import merge
from hunyuan_cli.plan import plan
from hunyuan_cli.quantize import quantize
from hunyuan_cli.status import status


def emit(result: dict[str, Any], *, as_json: bool, text: str) -> None:
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hunyuan-operator"))
def main() -> None:
    """Serve and tune Tencent Hunyuan-Large on Kubernetes."""


@main.command("convert-tokenizer")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", required=False, type=click.Path(file_okay=False, path_type=Path))
@json_option
def convert_tokenizer(folder: Path, out: Path | None, *, as_json: bool) -> None:
    """Convert the tokenizer in DIR (hy.tiktoken, tokenizer_config.json) for use without remote code.

    Writes tokenizer.json and tokenizer_config.json into OUT, or into DIR itself.
    """
    try:
        from hunyuan_runtime.tokenizer import TokenizerError, convert  # noqa: PLC0415 - --help must not need it
    except ImportError as error:
        raise MissingExtra(error, "serve") from error
    try:
        written = convert(folder, out)
    except TokenizerError as error:
        fail(error)
    emit({"path": str(written)}, as_json=as_json, text=f"{written}: tokenizer.json, tokenizer_config.json")


@main.command("tiny-model")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@json_option
def tiny_model(out: Path, *, as_json: bool) -> None:
    """Train a tiny model of Hunyuan-Large's architecture in OUT that knows twenty answers by heart.

    Half a minute on one core; nothing to do when OUT holds it already.
    """
    try:
        from hunyuan_runtime.tiny import NotMemorisedError, make_tiny_model  # noqa: PLC0415 - as above
    except ImportError as error:
        raise MissingExtra(error, "serve") from error

    def progress(step: int, steps: int, loss: float) -> None:
        if step % 20 == 0 or step == steps:
            click.echo(f"step {step}/{steps}, loss {loss:.4f}", err=True)

    try:
        report = make_tiny_model(out, progress)
    except (NotMemorisedError, OSError) as error:
        fail(error)
    verb = "made" if report.made else "is there already"
    result = {"path": str(report.path), "made": report.made, "margin": report.margin}
    emit(result, as_json=as_json, text=f"{report.path}: {verb}, margin {report.margin} logits")


def fail(error: Exception) -> Any:
    """One line on stderr and exit code 2."""
    click.echo(f"hunyuan: {error}", err=True)
    sys.exit(2)


for command in (bench, chat, check_data, merge, plan, quantize, status):
    main.add_command(command)

if __name__ == "__main__":
    main()
