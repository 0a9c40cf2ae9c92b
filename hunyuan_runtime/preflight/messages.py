"""What rank 0 and the members say to each other: JSON lines over one connection a member."""

import socket
import time
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from hunyuan_runtime.config import NetworkReport

LINE_LIMIT = 1 << 20


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Seat(_Message):
    """Where a member is. ``data_port`` is where it serves measurements, at ``address``."""

    rank: int
    pod: str
    node: str
    host: str
    pod_ip: str
    interface: str
    address: str
    data_port: int
    rdma: tuple[str, ...] = ()

    def __str__(self) -> str:
        node = f" on {self.node}" if self.node else ""
        return f"{self.pod}{node} ({self.interface}, {self.address})"


class Hello(_Message):
    """A member's first words. ``secret`` keeps strangers out who can reach the port."""

    secret: str
    seat: Seat


class Task(_Message):
    """``seats`` are the members that it is about; ``seconds`` is how long it may take."""

    kind: Literal["resolve", "connect", "measure", "all-reduce", "end"]
    seats: tuple[Seat, ...] = ()
    seconds: float = 10
    rendezvous: str = ""
    """``all-reduce``: host and port of the processes' store."""
    report: NetworkReport | None = None
    """``end``: all is well."""
    cause: str = ""
    """``end``: it is not; a name of :class:`hunyuan_runtime.termination.Cause`."""
    message: str = ""
    ranks: tuple[int, ...] = ()
    blamed: int = 0
    """``end``: the rank that ends first."""


class Answer(_Message):
    """``problems``: by the other rank's number. ``bits_per_second`` is of the direction towards the one who answers."""

    problems: dict[int, str] = {}
    latency_ms: float = 0
    bits_per_second: int = 0


Message = TypeVar("Message", bound=_Message)


class Channel:
    """One end of a connection. Raises OSError, or ValueError for what is no message."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""
        # A peer that vanished without a word must be noticed while nobody has anything to say.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4)):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, message: _Message) -> None:
        self._connection.settimeout(10)
        self._connection.sendall(message.model_dump_json().encode() + b"\n")

    def receive(self, kind: type[Message], seconds: float) -> Message:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            self._connection.settimeout(max(0.01, deadline - time.monotonic()))
            chunk = self._connection.recv(65536)
            if not chunk:
                raise ConnectionResetError("the other end closed the connection")
            self._rest += chunk
            if len(self._rest) > LINE_LIMIT:
                raise ValueError("a line without an end")
        line, self._rest = self._rest.split(b"\n", 1)
        return kind.model_validate_json(line)

    def close(self) -> None:
        self._connection.close()
