"""``python -m tests.cluster``."""

import sys

import click

from tests.cluster import packages, testbed
from tests.cluster.testbed import PrerequisitesMissing

BAD_MACHINE = 2


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.option("--nodes", type=click.IntRange(0, 2), default=2, show_default=True, help="0: the control plane alone.")
def up(nodes: int) -> None:
    """Start the test bed, or what of it does not run."""
    testbed.up(nodes)


@main.command()
def down() -> None:
    """End the test bed; caches stay."""
    testbed.down()


@main.command()
def status() -> None:
    """Say what runs."""
    click.echo(testbed.status())


@main.command("images")
def build_images() -> None:
    """Build the operator's and the runtime's image, and load them into nodes that run."""
    click.echo(testbed.refresh_images())


@main.command("install-packages")
def install_packages() -> None:
    """Install the Debian packages that are missing."""
    packages.install_missing(testbed.say)


if __name__ == "__main__":
    try:
        main(prog_name="python -m tests.cluster")
    except PrerequisitesMissing as problems:
        click.echo(str(problems), err=True)
        sys.exit(BAD_MACHINE)
    except (RuntimeError, TimeoutError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
