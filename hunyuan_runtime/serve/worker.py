"""Ranks 1 and up: join the leader's Ray cluster, stay, and notice when there is nothing left to stay for."""

import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from hunyuan_runtime.config import Phase, Port, RuntimeStatus, ServeConfig
from hunyuan_runtime.processes import Children
from hunyuan_runtime.serve.checkpoint import check_folder, check_weights
from hunyuan_runtime.serve.ray_node import Node, RayNode
from hunyuan_runtime.serve.stopped import StoppedProcesses
from hunyuan_runtime.status import StatusServer
from hunyuan_runtime.termination import Cause, RuntimeFailure


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds. The leader's status server answers whatever its engine does, so its silence means that it is gone.

    While the model loads every core is busy, and an answer may be late.
    """

    first_wait: float = 0.5
    longest_wait: float = 5
    poll: float = 0.5
    lost_starting: float = 20
    lost_serving: float = 6
    drained: float = 3


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How seconds go by."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(kw_only=True)
class Worker:
    """The state of one rank above 0."""

    config: ServeConfig
    node: Node
    children: Children
    ray_node: RayNode
    status: StatusServer[RuntimeStatus]
    ask: Callable[[str], RuntimeStatus | None]
    patience: Patience = field(default_factory=Patience)
    stopped: StoppedProcesses = field(default_factory=StoppedProcesses)
    clock: Clock = field(default_factory=Clock)
    began: float = field(init=False)
    leader: str = ""
    """Its address, once reached: what the cluster's DNS does afterwards is no matter of life and death."""

    def __post_init__(self) -> None:
        self.began = self.clock.now()

    def run(self) -> NoReturn:
        """Check, join, stay.

        Raises:
            RuntimeFailure: whatever ends this rank.

        """
        folder = Path(self.config.model_path)
        check_folder(folder)
        check_weights(folder)
        self._join()
        self.status.update(phase=Phase.JOINED)
        self.status.ready = True
        self._stay()

    def drain(self) -> None:
        """The leader's running requests need this rank: stay until it has been gone for a moment.

        How long that may take is the kubelet's to limit.
        """
        self.status.ready = False
        if self.status.status.phase is Phase.JOINED:
            self._stay(self.patience.drained)

    def _join(self) -> None:
        """Wait for the head with growing pauses; a failed ``ray start`` is tried again while there is time."""
        wait = self.patience.first_wait
        while True:
            try:
                self._reach_head()
                self.ray_node.start(self._time_left())
            except (OSError, RuntimeFailure) as error:
                if self._time_left() < wait:
                    raise self._unreachable(error) from error
                if isinstance(error, RuntimeFailure):
                    self.ray_node.clear()
                self.clock.sleep(wait)
                wait = min(2 * wait, self.patience.longest_wait)
            else:
                return

    def _reach_head(self) -> None:
        """Connect once by name. Ray's own start would block for long on a name that doesn't resolve yet."""
        with socket.create_connection((self.node.rank.leader, int(Port.RAY_GCS)), timeout=5) as connection:
            self.leader = connection.getpeername()[0]

    def _time_left(self) -> float:
        return self.config.join_timeout_seconds - (self.clock.now() - self.began)

    def _unreachable(self, error: Exception) -> RuntimeFailure:
        if isinstance(error, RuntimeFailure):
            return error
        return RuntimeFailure(
            Cause.LeaderUnreachable,
            f"{self.node.gcs_address} couldn't be reached within {self.config.join_timeout_seconds} s: {error}",
        )

    def _stay(self, silence: float | None = None) -> NoReturn:
        """``silence`` of the leader is the end; by default that depends on what it does."""
        heard, limit = self.clock.now(), silence or self.patience.lost_starting
        while True:
            self.clock.sleep(self.patience.poll)
            self.children.reap_orphans()
            self.ray_node.check()
            self.status.update(suspect=self.stopped.look(self.clock.now()))
            leader = self.ask(self.leader)
            if leader is not None:
                heard = self.clock.now()
                self._check_blame(leader)
                serving = leader.phase is Phase.SERVING
                limit = silence or (self.patience.lost_serving if serving else self.patience.lost_starting)
            elif self.clock.now() > heard + limit:
                raise RuntimeFailure(
                    Cause.LeaderLost, f"{self.node.rank.leader} hasn't answered for {limit:g} s", ranks=(0,)
                )

    def _check_blame(self, leader: RuntimeStatus) -> None:
        if leader.failed_rank == self.node.rank.index:
            print(self.ray_node.dying_words(leader.failed_pid), file=sys.stderr)  # noqa: T201 - the log of a container
            cause = Cause[leader.failed_cause]
            if cause is Cause.WorkerDied and (words := self.ray_node.gpu_fault()[0]):
                raise RuntimeFailure(Cause.GpuFault, f"{words}: {leader.message}")
            raise RuntimeFailure(cause, leader.message)
