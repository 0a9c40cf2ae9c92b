"""``python -m hunyuan_runtime.serve``: one rank of a group, as process 1 of its container.

Every end is an exit code and a message in the termination log (:mod:`hunyuan_runtime.termination`), save one: after
SIGTERM it is 143 and no message, since nothing failed.
"""

import argparse
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from hunyuan_runtime.config import CONFIG_PATH, RAY_TOKEN_PATH, TERMINATION_LOG, Port, Rank, ServeConfig
from hunyuan_runtime.preflight.names import peer_of
from hunyuan_runtime.preflight.wiring import discover
from hunyuan_runtime.serve.leader import Leader
from hunyuan_runtime.serve.peers import ask_status
from hunyuan_runtime.serve.processes import Children, Stopped, adopt_orphans, stop_on_signals
from hunyuan_runtime.serve.ray_node import Node, RayNode, environment
from hunyuan_runtime.serve.status import StatusServer
from hunyuan_runtime.serve.worker import Worker
from hunyuan_runtime.termination import Cause, RuntimeFailure, last_words

STOPPED = 128 + 15


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    stop_on_signals()
    children = Children()
    index = int(os.environ.get("HUNYUAN_RANK") or 0)
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
        return last_words(error, index, options.termination_log)
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
    parser = argparse.ArgumentParser(prog="python -m hunyuan_runtime.serve", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path(CONFIG_PATH), help="ServeConfig as JSON (%(default)s)")
    parser.add_argument("--ray-token", type=Path, default=Path(RAY_TOKEN_PATH), help="Ray's token (%(default)s)")
    parser.add_argument("--termination-log", type=Path, default=Path(TERMINATION_LOG), help="(%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("/tmp/hunyuan"), help="scratch folder (%(default)s)")  # noqa: S108 - the pod's own
    return parser.parse_args()


def make_member(options: argparse.Namespace, children: Children) -> Leader | Worker:
    """This rank, with its status server already answering.

    Raises:
        RuntimeFailure: ``ConfigInvalid``: configuration or environment can't be used.

    """
    try:
        rank = Rank.from_env(os.environ)
        config = ServeConfig.model_validate_json(options.config.read_text())
    except KeyError as missing:
        raise RuntimeFailure(Cause.ConfigInvalid, f"the environment lacks {missing}") from missing
    except (OSError, ValidationError, ValueError) as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"{options.config}: {error}") from error
    status = StatusServer(Port.STATUS)
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
