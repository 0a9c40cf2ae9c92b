"""What a command says when its packages are not installed: ``hunyuan`` alone brings only click and pydantic."""

import click


class MissingExtra(click.ClickException):
    """A command needs packages that this installation left out."""

    def __init__(self, error: ImportError, extra: str) -> None:
        super().__init__(f"{error}. This command needs the extra {extra!r}: pip install 'hunyuan-operator[{extra}]'")
