"""The operator as a process that is forked, not started: a hundred starts of Python would take minutes.

The fork has what the image's entry point has imported, and goes on at that entry point.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hunyuan_operator.__main__ import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "hunyuan_operator.app", "hunyuan_operator.logs", __name__])


class ForkedOperator:
    def __init__(self, identity: str, env: Mapping[str, str], log: Path) -> None:
        self.identity = identity
        self._process = _FORKS.Process(target=_run, args=({**env, "POD_NAME": identity}, log))
        self._process.start()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """If it has not ended by itself."""
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def end(self, number: signal.Signals, patience: float = 30) -> int:
        """Send a signal that ends it; the exit code, negative for a signal that did."""
        self.send(number)
        self._process.join(patience)
        code = self._process.exitcode
        assert code is not None, f"{self.identity} has not ended"
        return code


def _run(env: Mapping[str, str], log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(env)
    main(["--port", str(_free_port()), "--liveness-port", str(_free_port())])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
