"""The init container ``fetch``: see :mod:`hunyuan_runtime.fetch`. It ends as every rank does: by code and message."""

import argparse
import os
import socket
import sys
import time
from pathlib import Path

from hunyuan_runtime.config import HUB_TOKEN_PATH, FetchConfig, Phase, Port, RuntimeStatus
from hunyuan_runtime.entry import STOPPED, argument_parser, rank_index, read_config
from hunyuan_runtime.fetch.hub import Hub
from hunyuan_runtime.fetch.snapshot import SnapshotFetcher
from hunyuan_runtime.pace import Pace
from hunyuan_runtime.processes import Stopped, stop_on_signals
from hunyuan_runtime.status import StatusServer
from hunyuan_runtime.termination import Cause, RuntimeFailure, last_words


def main() -> int:
    options = parse_arguments()
    stop_on_signals()
    try:
        fetch(options)
    except Stopped:
        return STOPPED
    except Exception as error:  # a defect of ours must end with a message too
        return last_words(error, rank_index(), options.termination_log)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser("hunyuan_runtime.fetch", __doc__)
    parser.add_argument("--token", type=Path, default=Path(HUB_TOKEN_PATH), help="file of the token (%(default)s)")
    parser.add_argument("--port", type=int, default=int(Port.STATUS), help="of the status server (%(default)s)")
    return parser.parse_args()


def fetch(options: argparse.Namespace) -> None:
    """Fetch, and answer meanwhile on the status port.

    Raises:
        RuntimeFailure: as :class:`SnapshotFetcher` does, and ``ConfigInvalid``.

    """
    source = read_config(options.config, FetchConfig).hub
    try:
        token = options.token.read_text().strip() if options.token.exists() else ""
    except OSError as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"{options.token}: {error}") from error
    if source is None:
        return
    status, pace = StatusServer(options.port, RuntimeStatus(phase=Phase.FETCHING)), Pace()

    def report(done: int, total: int) -> None:
        status.update(progress=pace.progress(done, total, time.monotonic()))

    try:
        SnapshotFetcher(source=source, hub=Hub(source, token), holder=socket.gethostname(), report=report).run()
    finally:
        status.close()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # without waiting for connections that are silent
