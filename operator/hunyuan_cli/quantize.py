"""``hunyuan quantize``: a BF16 checkpoint to FP8, with a progress bar for each of its two passes."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from hunyuan_cli.extras import MissingExtra

LABELS = {"calibrate": "Measuring layers", "write": "Writing weights"}


class Progress:
    """Bars on stderr, so that stdout stays one JSON object; the second one replaces the first."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._step = ""
        self._bar: Any = None

    def __call__(self, step: str, done: int, total: int) -> None:
        if step != self._step:
            self._stack.close()
            bar = click.progressbar(length=total, label=LABELS[step], file=sys.stderr, show_pos=step == "calibrate")
            self._step, self._bar = step, self._stack.enter_context(bar)
        self._bar.update(done - self._bar.pos)


@click.command("quantize")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, resolve_path=True, path_type=Path))
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='One prompt a line, text or {"messages": [...]}. Default: twelve short ones, for a first try.',
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["autofp8", "compressed-tensors"]),
    default="autofp8",
    show_default=True,
    help="How config.json describes the quantisation.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def quantize(source: Path, out: Path, prompts: Path | None, kind: str, *, as_json: bool) -> None:
    """Make an FP8 checkpoint in OUT of the BF16 one in SOURCE.

    Weights and inputs of the linear layers get one static scale a tensor, measured on the prompts, and the cache a
    scale for its values. One layer is in memory at a time. A run that was killed goes on where it was; OUT appears
    when all is done, with quantization_report.json, the error of each layer.
    """
    try:
        from hunyuan_runtime.quantize import Format, Job, check_source, quantize  # noqa: PLC0415 - torch, only for this command
        from hunyuan_runtime.quantize.prompts import read_prompts  # noqa: PLC0415 - likewise
        from hunyuan_runtime.termination import RuntimeFailure  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise MissingExtra(error, "serve") from error
    try:
        check_source(source)  # before its tokenizer: what is no model has none
        ids = read_prompts(source, prompts)
        with ExitStack() as stack:
            done = quantize(Job(source=source, out=out, prompts=ids, format=Format(kind), progress=Progress(stack)))
    except (OSError, ValueError, RuntimeFailure) as error:
        click.echo(f"hunyuan: {error}", err=True)
        sys.exit(2)
    result = {"path": str(done.path), "made": done.made, "report": done.report}
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else _text(done.path, done.report, made=done.made))


def _text(path: Path, report: dict[str, Any], *, made: bool) -> str:
    lines = [f"{path}: {'made' if made else 'is there already'}, {report['format']}"]
    lines += [f"calibrated on {report['prompts']} prompts, {report['tokens']} tokens"]
    lines += [f"worst layer {report['worst_layer']}: output error {report['worst_output_error']:.2%}"]
    if unseen := sum(len(layer["unseen_experts"]) for layer in report["layers"]):
        lines += [f"{unseen} experts saw no token of the prompts: use more of them, and more diverse ones"]
    return "\n".join(lines)
