"""The command line of the test bed: ``python -m tests.cluster``."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from tests.cluster import packages, testbed
from tests.cluster.prerequisites import PrerequisitesMissing


@click.group(help="A real Kubernetes on this machine, for the demo and the tests.")
def main() -> None:
    pass


@main.command()
@click.option("--nodes", type=click.IntRange(0, 2), default=2, show_default=True, help="0: the control plane alone.")
def up(nodes: int) -> None:
    """Start the test bed, or what of it does not run."""
    with _clear_errors():
        testbed.up(nodes)


@main.command()
def down() -> None:
    """End the test bed; caches stay."""
    with _clear_errors():
        testbed.down()


@main.command()
def status() -> None:
    """Say what runs."""
    with _clear_errors():
        click.echo(testbed.status())


@main.command("images")
@click.option("--train", is_flag=True, help="The training image as well.")
def build_images(*, train: bool) -> None:
    """Build the images from the sources as they are, and load them into the nodes that run."""
    with _clear_errors():
        built = testbed.refresh_images(train=train)
        click.echo("\n".join([built.operator, built.serve, *([built.train] if train else [])]))


@main.command("install-packages")
def install_packages() -> None:
    """Install the Debian packages that are missing."""
    with _clear_errors():
        packages.install_missing(testbed.say)


class _Refused(click.ClickException):
    """Something about the machine, to be put right before it is tried again."""

    exit_code = 2


@contextmanager
def _clear_errors() -> Iterator[None]:
    """A failure that the test bed foresees is told in its own words, without a traceback."""
    try:
        yield
    except PrerequisitesMissing as problems:
        raise _Refused(str(problems)) from problems
    except (RuntimeError, TimeoutError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m tests.cluster")
