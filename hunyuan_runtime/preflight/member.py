"""Every rank's part: find rank 0, report, do what it says, end as it says."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hunyuan_runtime.config import NetworkReport, Port, PreflightConfig, Rank
from hunyuan_runtime.preflight import all_reduce
from hunyuan_runtime.preflight.links import (
    CONNECT_TIMEOUT,
    PATIENCE,
    DataServer,
    Limits,
    bits_per_second,
    explain,
    latency_ms,
    problems_of_ports,
)
from hunyuan_runtime.preflight.messages import Answer, Channel, Hello, Seat, Task
from hunyuan_runtime.preflight.names import NO_RECORD, problems_of_names
from hunyuan_runtime.preflight.wiring import Wiring, discover
from hunyuan_runtime.termination import Cause, RuntimeFailure

HEAD_START = 4
"""Seconds by which the blamed rank ends before the others; the kubelet tells ends in whole seconds."""
LONGEST_SILENCE = 600
"""Seconds that rank 0 may take with others between two tasks for this one: 128 ranks are measured in 127 rounds."""
PORTS = tuple(
    port.value
    for port in (Port.STATUS, Port.RAY_GCS, Port.RAY_OBJECT_MANAGER, Port.RAY_NODE_MANAGER, Port.RAY_WORKER_MIN)
)
"""What the ranks will need of each other, beside any port for gloo and NCCL, which the measurements stand for."""


@dataclass(kw_only=True)
class Member:
    config: PreflightConfig
    rank: Rank
    secret: str
    patience: float = PATIENCE
    head_start: float = HEAD_START

    def run(self) -> NetworkReport:
        """Take part until the verdict.

        Raises:
            RuntimeFailure: the network isn't fit, or can't be judged.

        """
        discover(self.config.network, self.rank)  # what doesn't need the others is known before they come
        connection = self._join()
        wiring = discover(self.config.network, self.rank, peer=self._peer(connection))
        server = DataServer(wiring.address, self.rank.pod_ip, PORTS, self.secret.encode())
        channel = Channel(connection)
        try:
            channel.send(Hello(secret=self.secret, seat=self._seat(wiring, server.port)))
            return self._obey(channel, wiring)
        except (OSError, ValueError) as error:
            raise RuntimeFailure(Cause.LeaderLost, f"{self.rank.peers[0]} left the preflight: {error}") from error
        finally:
            server.close()
            channel.close()

    def _join(self) -> socket.socket:
        """Connect to rank 0, with growing pauses.

        Raises:
            RuntimeFailure: ``NetworkFailed``, the machine gives no sign, or no name server does; ``LeaderUnreachable``,
                rank 0 isn't there in time.

        """
        host = self.rank.pod_ip if self.rank.index == 0 else self.rank.peers[0]
        began = heard = time.monotonic()
        pause = 0.05
        while True:
            now = time.monotonic()
            try:
                return socket.create_connection((host, Port.PREFLIGHT.value), timeout=CONNECT_TIMEOUT)
            except OSError as error:
                trouble = f"DNS: {error.strerror}" if isinstance(error, socket.gaierror) else explain(error)
                heard = now if _is_a_sign(error) else heard
            if time.monotonic() - heard > self.patience:
                raise self._silent(trouble)
            if now - began + pause > self.config.join_timeout_seconds:
                raise RuntimeFailure(
                    Cause.LeaderUnreachable, f"{host} didn't begin the preflight in time: {trouble}", ranks=(0,)
                )
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _silent(self, trouble: str) -> RuntimeFailure:
        wiring = discover(self.config.network, self.rank)
        here = f"{self.rank.pod} on {self.rank.node} ({wiring.interface}, {self.rank.pod_ip})"
        what = f"{here} can't reach {self.rank.peers[0].partition('.')[0]} port {Port.PREFLIGHT.value}: {trouble}"
        return RuntimeFailure(Cause.NetworkFailed, what, ranks=(self.rank.index, 0))

    def _peer(self, connection: socket.socket) -> str:
        """As :func:`peer_of`, without asking again; rank 0 is connected to itself."""
        return "" if self.rank.index == 0 else str(connection.getpeername()[0])

    def _seat(self, wiring: Wiring, data_port: int) -> Seat:
        return Seat(
            rank=self.rank.index,
            pod=self.rank.pod,
            node=self.rank.node,
            host=self.rank.peers[self.rank.index],
            pod_ip=self.rank.pod_ip,
            interface=wiring.interface,
            address=wiring.address,
            data_port=data_port,
            rdma=tuple(port.name for port in wiring.rdma),
        )

    def _obey(self, channel: Channel, wiring: Wiring) -> NetworkReport:
        silence = self.config.join_timeout_seconds + LONGEST_SILENCE
        while True:
            task = channel.receive(Task, silence)
            if task.kind == "end":
                return self._end(task)
            channel.send(self._do(task, wiring))

    def _do(self, task: Task, wiring: Wiring) -> Answer:
        network, secret = self.config.network, self.secret.encode()
        limits = Limits(min_bits_per_second=network.min_bits_per_second, max_latency_ms=network.max_latency_ms)
        match task.kind:
            case "resolve":
                return Answer(problems=problems_of_names(task.seats, self.patience))
            case "connect":
                return Answer(problems=_unreachable([seat for seat in task.seats if seat.rank != self.rank.index]))
            case "measure":
                return _measured(wiring.address, task.seats[0], secret, limits)
            case _:
                return all_reduce.run(task, self.rank, self.config, {**os.environ, **wiring.environment()})

    def _end(self, task: Task) -> NetworkReport:
        if task.report is not None:
            return task.report
        if task.blamed != self.rank.index:
            time.sleep(self.head_start)
        raise RuntimeFailure(Cause[task.cause], task.message, ranks=task.ranks)


def _is_a_sign(error: OSError) -> bool:
    """Whether somebody answered: a machine whose preflight hasn't begun, or DNS that knows no such pod yet."""
    return error.errno in NO_RECORD if isinstance(error, socket.gaierror) else isinstance(error, ConnectionRefusedError)


def _unreachable(others: Sequence[Seat]) -> dict[int, str]:
    if not others:
        return {}
    with ThreadPoolExecutor(max_workers=min(16, len(others))) as pool:
        found = pool.map(lambda seat: problems_of_ports(seat.pod_ip, PORTS), others)
        return {seat.rank: text for seat, text in zip(others, found, strict=True) if text}


def _measured(source: str, seat: Seat, secret: bytes, limits: Limits) -> Answer:
    peer = (seat.address, seat.data_port)
    steps: list[tuple[str, Callable[..., float]]] = [("a round trip", latency_ms), ("a stream", bits_per_second)]
    values: list[float] = []
    for what, measure in steps:
        try:
            values.append(measure(source, peer, secret, limits))
        except OSError as error:
            return Answer(problems={seat.rank: f"{what} on port {seat.data_port}: {explain(error)}"})
    return Answer(latency_ms=values[0], bits_per_second=int(values[1]))
