"""``hunyuan status``, or ``kubectl hunyuan status``: how HunyuanDeployments and HunyuanFineTunes stand, and why.

The API is read by ``kubectl get``: a plugin shall see what kubectl sees, through the same contexts, proxies and
authentication plugins, and needs no client of its own for it.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from hunyuan_cli.extras import MissingExtra

if TYPE_CHECKING:
    from rich.console import RenderableType

_KINDS = ("hunyuandeployments.hunyuan.dev", "hunyuanfinetunes.hunyuan.dev")
PAUSE = 2.0
"""Seconds between two looks of ``--watch``."""

Manifest = dict[str, Any]


class Unknown(Exception):
    """The message says what can't be told, and why."""


def read(name: str, namespace: str) -> list[Manifest]:
    """All of both kinds, or those of that name.

    Raises:
        Unknown: there is no kubectl, none of that name, or kubectl is refused.

    """
    if shutil.which("kubectl") is None:
        raise Unknown("there is no kubectl, by which the cluster is read")
    what = [f"{kind}/{name}" for kind in _KINDS] if name else [",".join(_KINDS)]
    command = ["kubectl", "get", *what, "--ignore-not-found", "--output=json"]
    if namespace:
        command.append(f"--namespace={namespace}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unknown(f"kubectl: {done.stderr.strip().removeprefix('error: ')}")
    found = json.loads(done.stdout) if done.stdout.strip() else {"items": []}
    items: list[Manifest] = found.get("items", [found])
    if name and not items:
        raise Unknown(f"there is no HunyuanDeployment and no HunyuanFineTune {name!r}")
    return items


def as_json(items: list[Manifest], *, one: bool) -> str:
    """An object for each, with its whole status; a list of them unless a name was given and only one bears it."""
    told = [
        {
            "kind": item["kind"],
            "namespace": item["metadata"]["namespace"],
            "name": item["metadata"]["name"],
            "generation": item["metadata"]["generation"],
            "status": item.get("status", {}),
        }
        for item in items
    ]
    return json.dumps(told[0] if one and len(told) == 1 else told, ensure_ascii=False)


def views(items: list[Manifest], now: datetime, *, trees: bool) -> list["RenderableType"]:
    """Raises MissingExtra, and Unknown when another version of the operator wrote the status."""
    try:
        from hunyuan_cli.status_view import table, tree  # noqa: PLC0415 - needs rich
    except ImportError as error:
        raise MissingExtra(error, "client") from error
    try:
        return [tree(item, now) for item in items] if trees else [table(items, now)]
    except ValidationError as error:
        raise Unknown(f"the status is of another version than this command: {error}") from error


def _looks(name: str, namespace: str, *, watch: bool) -> Iterator[list[Manifest]]:
    yield read(name, namespace)
    while watch:
        time.sleep(PAUSE)
        yield read(name, namespace)


def _show(items: list[Manifest], *, trees: bool, clear: bool) -> None:
    parts = views(items, datetime.now(UTC), trees=trees)
    from rich.console import Console  # noqa: PLC0415 - there, since views() had it

    # What goes into a file or another program is not broken into lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    if clear:
        console.clear()
    if not items:
        console.print("No HunyuanDeployment and no HunyuanFineTune here.")
    for part in parts if items else ():
        console.print(part)


@click.command("status")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="", help="Default: kubectl's own.")
@click.option("-w", "--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON; with --watch one line at each change.")
def status(name: str, namespace: str, *, watch: bool, as_json_: bool) -> None:
    """Say how the HunyuanDeployment or HunyuanFineTune NAME stands, and why; without NAME, list both kinds.

    Needs kubectl, and reads what that may read. Exit code 2: nothing could be told, and stderr says why.
    """
    before = None
    try:
        for items in _looks(name, namespace, watch=watch):
            if not as_json_:
                _show(items, trees=bool(name), clear=watch and sys.stdout.isatty())
            elif (told := as_json(items, one=bool(name))) != before:
                click.echo(told)
                before = told
    except Unknown as error:
        click.echo(f"hunyuan: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        return
