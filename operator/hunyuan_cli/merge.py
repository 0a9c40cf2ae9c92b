"""``hunyuan merge``: a LoRA adapter into its base model."""

import json
import sys
from pathlib import Path

import click

from hunyuan_cli.extras import MissingExtra


@click.command("merge")
@click.option(
    "--base", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Model folder."
)
@click.option(
    "--adapter",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of peft: adapter_config.json, adapter_model.safetensors.",
)
@click.argument("out", type=click.Path(file_okay=False, resolve_path=True, path_type=Path))
@click.option("--dtype", type=click.Choice(["bf16", "fp16", "fp32"]), default="bf16", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def merge(base: Path, adapter: Path, out: Path, dtype: str, *, as_json: bool) -> None:
    """Make the model in OUT that the base and the adapter are together.

    The sum is done in fp32, one tensor after the other; OUT has the base's files and names, and appears when all is
    done. A run that was killed goes on where it was.
    """
    try:
        from hunyuan_runtime.merge import Adapter, Job, merge  # noqa: PLC0415 - torch, only for this command
        from hunyuan_runtime.termination import RuntimeFailure  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise MissingExtra(error, "serve") from error
    with click.progressbar(length=100, label="Writing weights", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done * 100 // total - bar.pos)

        try:
            done = merge(Job(base=base, change=Adapter(adapter), out=out, dtype=dtype, progress=progress))
        except (OSError, ValueError, RuntimeFailure) as error:
            click.echo(f"hunyuan: {error}", err=True)
            sys.exit(2)
    result = {"path": str(done.path), "made": done.made, "digest": done.digest, "bytes": done.size}
    verb = "made" if done.made else "is there already"
    click.echo(json.dumps(result) if as_json else f"{done.path}: {verb}, {done.size / 1e9:.2f} GB in {dtype}")
