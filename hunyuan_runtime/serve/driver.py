"""``python -m hunyuan_runtime.serve.driver``: the leader's process inside Ray.

A process of its own, since Ray ends its driver without a word when the cluster's head dies. It tells the leader who
joins, starts Serve and the engine once all are there, and from then on watches the engine's ranks: Ray alone knows
which of them died by itself and which was ended because another had.
"""

import json
import logging
import os
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

import ray
from ray import serve
from ray._private.state import actors
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import RayError, RayTaskError

from hunyuan_runtime.config import Port, ServeConfig
from hunyuan_runtime.serve.app import APPLICATION, Engine
from hunyuan_runtime.serve.load_progress import Loaded, loaded
from hunyuan_runtime.serve.ray_node import rank_of
from hunyuan_runtime.serve.reports import DRAIN_SIGNAL, Report, ReportWriter
from hunyuan_runtime.termination import Cause, RuntimeFailure

POLL = 0.5
SETTLE = 4.0
"""Seconds in which Ray learns of a rank's death after the engine has failed of it."""
_RANK_CLASS = "RayWorker"
_BY_ITSELF = (ActorDiedErrorContext.WORKER_DIED, ActorDiedErrorContext.NODE_DIED)


class RankDiedError(Exception):
    def __init__(self, report: Report) -> None:
        super().__init__(report.message)
        self.report = report


def main() -> int:
    """Arguments: file descriptor for reports, address of Ray's head, ServeConfig as JSON, engine arguments as JSON."""
    fd, address, config, arguments = sys.argv[1:]
    reports = ReportWriter(int(fd))
    try:
        run(reports, address, ServeConfig.model_validate_json(config), json.loads(arguments))
    except RankDiedError as died:
        reports.write(died.report)
    except RuntimeFailure as failure:
        traceback.print_exc()
        reports.write(Report.failure(failure))
    except Exception as error:  # whatever Ray raises ends here, and the leader must know
        traceback.print_exc()
        reports.write(Report.failure(RuntimeFailure(Cause.RayFailed, f"{type(error).__name__}: {error}")))
    return 1


def run(reports: ReportWriter, address: str, config: ServeConfig, arguments: list[str]) -> NoReturn:
    """Ends only by an exception."""
    ray.init(address=address, namespace="hunyuan", logging_level=logging.WARNING)
    wait_for_ranks(reports, config.nodes)
    reports.write(Report(event="loading", addresses=addresses()))
    handle = start_serve(config)
    load(reports, handle, arguments, config.world_size)
    drain = Drain(handle, reports)
    signal.signal(DRAIN_SIGNAL, lambda *_: drain.ask())
    reports.write(Report(event="loaded"))
    while True:
        raise_dead_rank()
        drain.proceed()
        time.sleep(POLL)


class Drain:
    """Asked for by a signal, at most once; told when the front door has let out the last request."""

    def __init__(self, handle: Any, reports: ReportWriter) -> None:
        self._handle = handle
        self._reports = reports
        self._asked = False
        self._running: Any = None
        self._told = False

    def ask(self) -> None:
        self._asked = True

    def proceed(self) -> None:
        if not self._asked or self._told:
            return
        if self._running is None:
            self._running = self._handle.drain.remote()
        try:
            self._running.result(timeout_s=0.1)
        except TimeoutError:
            return
        self._told = True
        self._reports.write(Report(event="drained"))


def addresses() -> dict[int, str]:
    """Of the ranks, by rank."""
    ranks = ((rank_of(node["Resources"]), node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"])
    return {rank: address for rank, address in ranks if rank is not None}


def wait_for_ranks(reports: ReportWriter, nodes: int) -> None:
    told: list[int] | None = None
    while True:
        ranks = {rank_of(node["Resources"]) for node in ray.nodes() if node["Alive"]}
        joined = sorted(rank for rank in ranks if rank is not None)
        if joined != told:
            reports.write(Report(event="joining", ranks=joined))
            told = joined
        if len(joined) == nodes:
            return
        time.sleep(POLL)


def start_serve(config: ServeConfig) -> Any:
    """The deployment's handle. The replica gets the head's node, where the Service sends requests to.

    Serve's own proxy stays off: the replica opens the API's port itself (:mod:`hunyuan_runtime.serve.front`). The GPUs
    are for the ranks, which vLLM starts as actors in the same placement group; a single rank is the replica's own.
    """
    bundle = {"GPU": 1, "CPU": 0.01}
    bundles = [{**bundle, "node:__internal_head__": 0.001}, *[bundle] * (config.world_size - 1)]
    serve.start(proxy_location="Disabled")
    app = Engine.options(  # type: ignore[attr-defined]  # what serve.deployment makes of a class
        placement_group_bundles=bundles,
        placement_group_strategy="PACK",
        ray_actor_options={"num_cpus": 0.01, "num_gpus": 1 if config.world_size == 1 else 0},
    ).bind()
    return serve.run(app, name=APPLICATION, route_prefix=None)


def load(reports: ReportWriter, handle: Any, arguments: list[str], ranks: int) -> None:
    loading = handle.load.remote(arguments, int(Port.API))
    told: Loaded | None = None
    while True:
        try:
            loading.result(timeout_s=POLL)
        except TimeoutError:
            raise_dead_rank()
            if (far := loaded(ranks)) and far != told:
                reports.write(Report(event="progress", done=far.done, total=far.total))
                told = far
        except (RayError, RuntimeFailure) as error:
            root = _root_of(error)
            if root.cause is Cause.EngineFailed:
                raise_dead_rank(within=SETTLE)
            raise root from error
        else:
            return


def _root_of(error: Exception) -> RuntimeFailure:
    """Ray wraps what the replica raised into a class of both, whose ``cause`` is the original."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, RuntimeFailure):
        return cause
    return RuntimeFailure(Cause.EngineFailed, f"the replica failed: {cause}")


def raise_dead_rank(within: float = 0) -> None:
    """Raise RankDiedError when one of the engine's ranks has died by itself, or does within so many seconds."""
    deadline = time.monotonic() + within
    while True:
        for actor in actors(actor_state_name="DEAD").values():
            context = actor["DeathCause"].actor_died_error_context
            if actor["ActorClassName"].startswith(_RANK_CLASS) and context.reason in _BY_ITSELF:
                raise RankDiedError(_report(actor, context))
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL)


def _report(actor: dict[str, Any], context: ActorDiedErrorContext) -> Report:
    node_id = actor["Address"]["NodeID"]
    rank = next((rank_of(node["Resources"]) for node in ray.nodes() if node["NodeID"] == node_id), None)
    return Report(
        event="rank-died",
        ranks=[] if rank is None else [rank],
        pid=actor["Pid"],
        message=context.error_message.partition(" Some common causes include")[0].strip(),
    )


if __name__ == "__main__":
    code = main()
    # Ray's own exit handlers wait for a cluster that may be gone.
    sys.stderr.flush()
    os._exit(code)
