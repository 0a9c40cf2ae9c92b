"""``python -m hunyuan_runtime.preflight``: one rank's preflight, as an init container of its pod.

Exit code 0 and, on rank 0, a :class:`~hunyuan_runtime.config.NetworkReport` in the termination log; or a code and a
message of :mod:`hunyuan_runtime.termination`; or 143 after SIGTERM.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from hunyuan_runtime.config import RAY_TOKEN_PATH, PreflightConfig, Rank
from hunyuan_runtime.entry import STOPPED, argument_parser, rank_index, read_config, read_rank
from hunyuan_runtime.preflight.coordinator import Coordinator
from hunyuan_runtime.preflight.member import Member
from hunyuan_runtime.preflight.names import hurry
from hunyuan_runtime.termination import Cause, RuntimeFailure, last_words


def main() -> int:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(STOPPED))  # process 1 would not end by it otherwise
    hurry()
    try:
        rank, config, secret = read(options)
        if rank.index == 0:
            gpus = os.environ.get("HUNYUAN_DEVICE", "cuda") != "cpu"
            Coordinator(config=config, rank=rank, secret=secret, gpus=gpus).start()
        report = Member(config=config, rank=rank, secret=secret).run()
    except Exception as error:  # a defect of ours must end with a message too
        return last_words(error, rank_index(), options.termination_log)
    text = report.model_dump_json()
    print(text)  # noqa: T201 - the log of a container
    if rank.index == 0:
        options.termination_log.write_text(text)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser("hunyuan_runtime.preflight", __doc__)
    parser.add_argument("--ray-token", type=Path, default=Path(RAY_TOKEN_PATH), help="the group's secret (%(default)s)")
    return parser.parse_args()


def read(options: argparse.Namespace) -> tuple[Rank, PreflightConfig, str]:
    """What this rank is told, and the secret that the group has in common.

    Raises:
        RuntimeFailure: ``ConfigInvalid``.

    """
    rank, config = read_rank(), read_config(options.config, PreflightConfig)
    try:
        secret = options.ray_token.read_text().strip()
    except OSError as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"{options.ray_token}: {error}") from error
    if len(rank.peers) != config.nodes:
        raise RuntimeFailure(Cause.ConfigInvalid, f"HUNYUAN_PEERS has {len(rank.peers)} names, not {config.nodes}")
    return rank, config, secret


if __name__ == "__main__":
    sys.exit(main())
