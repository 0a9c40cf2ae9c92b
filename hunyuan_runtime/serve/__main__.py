"""``python -m hunyuan_runtime.serve``: one rank of a group, as process 1 of its container.

Every end is an exit code and a message in the termination log (:mod:`hunyuan_runtime.termination`), save one: after
SIGTERM it is 143 and no message, since nothing failed.
"""

import argparse
import os
import sys
from pathlib import Path

from hunyuan_runtime.config import RAY_TOKEN_PATH, Phase, Port, RuntimeStatus, ServeConfig
from hunyuan_runtime.entry import STOPPED, argument_parser, rank_index, read_config, read_rank
from hunyuan_runtime.preflight.names import peer_of
from hunyuan_runtime.preflight.wiring import discover
from hunyuan_runtime.processes import Children, Stopped, adopt_orphans, stop_on_signals
from hunyuan_runtime.serve.leader import Leader
from hunyuan_runtime.serve.peers import ask_status
from hunyuan_runtime.serve.ray_node import Node, RayNode, environment
from hunyuan_runtime.serve.worker import Worker
from hunyuan_runtime.status import StatusServer
from hunyuan_runtime.termination import RuntimeFailure, last_words


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    stop_on_signals()
    children = Children()
    member: Leader | Worker | None = None
    grace = 2
    try:
        member = make_member(options, children)
        member.run()
    except Stopped:
        drain(member)
        return STOPPED
    except Exception as error:  # a defect of ours must end with a message too
        grace = 0  # no process has anything left to do, and the operator waits for this end
        return last_words(error, rank_index(), options.termination_log)
    finally:
        children.end_all(grace)


def drain(member: Leader | Worker | None) -> None:
    """What fails now is no news to the operator, who asked for the end."""
    try:
        if member is not None:
            member.drain()
    except RuntimeFailure as failure:
        print(f"while stopping: {failure}", file=sys.stderr)  # noqa: T201 - the log of a container


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser("hunyuan_runtime.serve", __doc__)
    parser.add_argument("--ray-token", type=Path, default=Path(RAY_TOKEN_PATH), help="Ray's token (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("/tmp/hunyuan"), help="scratch folder (%(default)s)")  # noqa: S108 - the pod's own
    return parser.parse_args()


def make_member(options: argparse.Namespace, children: Children) -> Leader | Worker:
    """This rank, with its status server already answering.

    Raises:
        RuntimeFailure: ``ConfigInvalid``: configuration or environment can't be used.

    """
    rank, config = read_rank(), read_config(options.config, ServeConfig)
    status = StatusServer(Port.STATUS, RuntimeStatus(phase=Phase.STARTING))
    options.work.mkdir(parents=True, exist_ok=True)
    node = Node(
        rank=rank,
        gpus=config.gpus_per_node,
        wiring=discover(config.network, rank, peer_of(rank)),
        token=options.ray_token,
        work=options.work,
    )
    env = environment(node, os.environ)
    ray_node = RayNode(node, env, children)
    if rank.index == 0:
        return Leader(config=config, node=node, env=env, children=children, ray_node=ray_node, status=status)
    return Worker(config=config, node=node, children=children, ray_node=ray_node, status=status, ask=ask_status)


if __name__ == "__main__":
    sys.exit(main())
