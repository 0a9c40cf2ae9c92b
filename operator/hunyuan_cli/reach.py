"""From what a person types, a URL or a deployment's name, to a URL that answers."""

import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

API_PORT = 8000
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_FORWARDING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+) ")


class Unreachable(Exception):
    """The message says why there is no way to the deployment."""


@contextmanager
def reach(target: str, namespace: str = "") -> Iterator[str]:
    """A URL for as long as the context lives. A bare name is a HunyuanDeployment's: kubectl forwards a port to it.

    Raises:
        Unreachable: no kubectl, or it can't.

    """
    if target == "localhost" or not _NAME.fullmatch(target):
        yield target
        return
    if shutil.which("kubectl") is None:
        raise Unreachable(f"{target!r} is no URL, and without kubectl there is no way to a deployment by its name")
    command = ["kubectl", "port-forward", f"service/{target}", f":{API_PORT}", "--address=127.0.0.1"]
    if namespace:
        command.append(f"--namespace={namespace}")
    # A session of its own: Ctrl-C is for the answer, not for the connection.
    forward = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert forward.stdout is not None
    try:
        yield f"http://{_address(forward.stdout)}"
    finally:
        forward.terminate()
        forward.wait()


def _address(said: IO[str]) -> str:
    """What kubectl says first is the address, or why there is none."""
    first = said.readline().strip()
    found = _FORWARDING.match(first)
    if found is None:
        raise Unreachable(f"kubectl: {first.removeprefix('error: ') or 'ended without a word'}")
    # It goes on to report each connection, and would stop at a pipe that nobody empties.
    threading.Thread(target=deque, args=(said, 0), daemon=True).start()
    return found[1]
