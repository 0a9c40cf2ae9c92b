"""One link between two pods: whether it connects, how long a round trip takes, and how much goes through.

The passive side is a :class:`DataServer`, the active side the functions. Bandwidth is measured where the bytes arrive,
so that buffers on the way count for nothing.
"""

import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

PATIENCE = 20.0
"""Seconds after which a name without a record, or a machine without a sign, counts as failed."""
CONNECT_TIMEOUT = 3.0
ROUND_TRIPS = 11
WINDOW = 0.25
"""Seconds for which bytes are counted."""
TRIES = 3
"""A value beyond its limit is measured again: a busy machine is no slow link."""
_BLOCK = 1 << 18
_LONGEST_STREAM = 20.0
_ECHO, _STREAM = b"E", b"S"
_STEP_TIMEOUT = 5.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    min_bits_per_second: int
    max_latency_ms: float


class DataServer:
    """Serves measurements on ``port``, and keeps ``ports`` open so that others can try to connect to them.

    Nothing accepts on those: the kernel completes a connection as soon as someone listens. What listens there later,
    Ray and the status server, must find them free at once, so no connection is ever closed in an orderly way, which
    would leave it in TIME_WAIT; it is reset.
    """

    def __init__(self, address: str, pod_ip: str, ports: Sequence[int], secret: bytes) -> None:
        self._secret = secret
        self._listeners = [listen(pod_ip, port) for port in ports]
        self._data = listen(address, 0)
        threading.Thread(target=self._accept, name="data", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._data.getsockname()[1])

    def close(self) -> None:
        for listener in (*self._listeners, self._data):
            listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._data.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with _reset_at_end(connection):
            try:
                connection.settimeout(_STEP_TIMEOUT)
                greeting = _read(connection, len(self._secret) + 1)
                if greeting == self._secret + _ECHO:
                    while byte := connection.recv(1):
                        connection.sendall(byte)
                elif greeting == self._secret + _STREAM:
                    _stream(connection)
            except OSError:
                return  # the active side has what it wants, or tells of the failure itself


def problems_of_ports(address: str, ports: Sequence[int]) -> str:
    """Which of the ports can't be connected to, and why; empty when all can."""
    with ThreadPoolExecutor(max_workers=len(ports)) as pool:
        failures = list(pool.map(lambda port: _problem(address, port), ports))
    found: dict[str, list[str]] = {}
    for port, failure in zip(ports, failures, strict=True):
        found.setdefault(failure, []).append(str(port))
    return ", ".join(f"port {' '.join(which)} {failure}" for failure, which in found.items() if failure)


def latency_ms(source: str, peer: tuple[str, int], secret: bytes, limits: Limits) -> float:
    """The median round trip, and of several tries the best."""
    best = float("inf")
    for _ in range(TRIES):
        with _connected(source, peer, secret + _ECHO) as connection:
            best = min(best, statistics.median(_round_trip(connection) for _ in range(ROUND_TRIPS)))
        if best <= limits.max_latency_ms:
            break
    return best


def bits_per_second(source: str, peer: tuple[str, int], secret: bytes, limits: Limits) -> int:
    """What arrives here from ``peer``, and of several tries the most."""
    best = 0
    for _ in range(TRIES):
        with _connected(source, peer, secret + _STREAM) as connection:
            best = max(best, _arriving(connection))
        if best >= limits.min_bits_per_second:
            break
    return best


def explain(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()


def _problem(address: str, port: int) -> str:
    for attempt in reversed(range(2)):  # a first packet may be lost
        try:
            with socket.create_connection((address, port), timeout=CONNECT_TIMEOUT) as connection:
                _reset(connection)
        except OSError as error:
            if not attempt:
                return explain(error)
        else:
            return ""
    raise AssertionError


def _round_trip(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(b"x")
    _read(connection, 1)
    return (time.perf_counter() - began) * 1000


def _arriving(connection: socket.socket) -> int:
    buffer = memoryview(bytearray(1 << 20))
    connection.recv_into(buffer, 1)
    began = time.perf_counter()
    total, elapsed = 0, 0.0
    while elapsed < WINDOW:
        count = connection.recv_into(buffer)
        if not count:
            raise ConnectionResetError("closed while it was measured")
        total += count
        elapsed = time.perf_counter() - began
    return int(total * 8 / elapsed)


def _stream(connection: socket.socket) -> None:
    block = bytes(_BLOCK)
    deadline = time.monotonic() + _LONGEST_STREAM
    while time.monotonic() < deadline:
        connection.sendall(block)


@contextmanager
def _connected(source: str, peer: tuple[str, int], greeting: bytes) -> Iterator[socket.socket]:
    with _reset_at_end(socket.create_connection(peer, timeout=_STEP_TIMEOUT, source_address=(source, 0))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(greeting)
        yield connection


@contextmanager
def _reset_at_end(connection: socket.socket) -> Iterator[socket.socket]:
    with connection:
        try:
            yield connection
        finally:
            _reset(connection)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionResetError("closed while it was measured")
        data += chunk
    return data


def listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=512)
