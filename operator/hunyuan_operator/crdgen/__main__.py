"""``python -m hunyuan_operator.crdgen [--check]``."""

import sys
from pathlib import Path

import click

from hunyuan_operator.crdgen.files import generated

ROOT = Path(__file__).parents[3]
"""The checkout: there is nothing to generate for an installed package."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a file is not what would be written.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=ROOT, help="Folder to write into.")
def main(*, check: bool, root: Path) -> None:
    """Write crds/, the chart's copy of it and docs/reasons.md from the API models."""
    stale = {path: text for path, text in generated().items() if _read(root / path) != text}
    if check and stale:
        sys.exit(f"not up to date, run `make generate`: {', '.join(map(str, stale))}")
    for path, text in stale.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        click.echo(f"wrote {path}")


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    main()
