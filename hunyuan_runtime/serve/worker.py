"""Ranks 1 and up: join the leader's Ray cluster, stay, and notice when there is nothing left to stay for."""

import http.client
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from hunyuan_runtime.config import Phase, Port, RuntimeStatus, ServeConfig
from hunyuan_runtime.serve.checkpoint import check_folder, check_weights
from hunyuan_runtime.serve.processes import Children
from hunyuan_runtime.serve.ray_node import Node, RayNode
from hunyuan_runtime.serve.status import StatusServer
from hunyuan_runtime.termination import Cause, RuntimeFailure

FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0
LEADER_LOST_AFTER = 20
"""Seconds without an answer of the leader's status server, which answers whatever its engine does."""
POLL = 1.0
DRAIN = 10


@dataclass(kw_only=True)
class Worker:
    """The state of one rank above 0."""

    config: ServeConfig
    node: Node
    env: Mapping[str, str]
    children: Children
    status: StatusServer
    began: float = field(default_factory=time.monotonic)

    def run(self) -> NoReturn:
        """Check, join, stay.

        Raises:
            RuntimeFailure: whatever ends this rank.

        """
        folder = Path(self.config.model_path)
        check_folder(folder)
        check_weights(folder)
        ray_node = RayNode(self.node, self.env, self.children)
        self._join(ray_node)
        self.status.update(phase=Phase.JOINED)
        self.status.ready = True
        self._stay(ray_node)

    def drain(self) -> None:
        """The leader's running requests need this rank: wait until it is gone, or for some seconds."""
        self.status.ready = False
        deadline = time.monotonic() + DRAIN
        while self.status.status.phase is Phase.JOINED and time.monotonic() < deadline and self._leader() is not None:
            time.sleep(0.5)

    def _join(self, ray_node: RayNode) -> None:
        """Wait for the head with growing pauses; a failed ``ray start`` is tried again while there is time."""
        wait = FIRST_WAIT
        while True:
            try:
                self._reach_head()
                ray_node.start(self._time_left())
            except (OSError, RuntimeFailure) as error:
                if self._time_left() < wait:
                    raise self._unreachable(error) from error
                if isinstance(error, RuntimeFailure):
                    ray_node.clear()
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                return

    def _reach_head(self) -> None:
        """Connect once by name. Ray's own start would block for long on a name that doesn't resolve yet."""
        with socket.create_connection((self.node.rank.leader, int(Port.RAY_GCS)), timeout=5):
            pass

    def _time_left(self) -> float:
        return self.config.join_timeout_seconds - (time.monotonic() - self.began)

    def _unreachable(self, error: Exception) -> RuntimeFailure:
        if isinstance(error, RuntimeFailure):
            return error
        return RuntimeFailure(
            Cause.LeaderUnreachable,
            f"{self.node.gcs_address} couldn't be reached within {self.config.join_timeout_seconds} s: {error}",
        )

    def _stay(self, ray_node: RayNode) -> NoReturn:
        heard = time.monotonic()
        while True:
            time.sleep(POLL)
            self.children.reap_orphans()
            ray_node.check()
            leader = self._leader()
            if leader is not None:
                heard = time.monotonic()
                self._check_blame(leader, ray_node)
            elif time.monotonic() > heard + LEADER_LOST_AFTER:
                raise RuntimeFailure(
                    Cause.LeaderLost, f"{self.node.rank.leader} hasn't answered for {LEADER_LOST_AFTER} s"
                )

    def _check_blame(self, leader: RuntimeStatus, ray_node: RayNode) -> None:
        if leader.failed_rank == self.node.rank.index:
            print(ray_node.dying_words(leader.failed_pid), file=sys.stderr)  # noqa: T201 - the log of a container
            raise RuntimeFailure(
                Cause.WorkerDied,
                f"the engine's process {leader.failed_pid} on rank {leader.failed_rank} died: {leader.message}",
            )

    def _leader(self) -> RuntimeStatus | None:
        try:
            url = f"http://{self.node.rank.leader}:{Port.STATUS}/status"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return RuntimeStatus.model_validate_json(answer.read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
