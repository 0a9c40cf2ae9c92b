"""Whether host names resolve, and to whom."""

import os
import socket
import time
from collections.abc import Callable, Sequence

from hunyuan_runtime.config import Rank
from hunyuan_runtime.preflight.links import PATIENCE
from hunyuan_runtime.preflight.messages import Seat

Resolve = Callable[[str], list[str]]
"""Host name → addresses, or socket.gaierror."""

NO_RECORD = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


def hurry() -> None:
    """One lookup shall not take a minute when a name server is silent; the C library reads this at its first one."""
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")


def resolve(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def peer_of(rank: Rank, resolve: Resolve = resolve) -> str:
    """The address of rank 0 for the others, to ask the routing table for; empty on rank 0, or if it isn't known."""
    try:
        return "" if rank.index == 0 else resolve(rank.leader)[0]
    except socket.gaierror:
        return ""


def problem_of(host: str, expected: str, resolve: Resolve = resolve) -> str:
    """Empty when the name has the one address that it shall have."""
    try:
        found = resolve(host)
    except socket.gaierror as error:
        return f"no DNS record for {host}" if error.errno in NO_RECORD else f"DNS for {host}: {error.strerror}"
    return "" if expected in found else f"DNS says {host} is {' '.join(found)}, but it is {expected}"


def problems_of_names(seats: Sequence[Seat], patience: float = PATIENCE, resolve: Resolve = resolve) -> dict[int, str]:
    """By rank, what is wrong with each name once ``patience`` has run out: records may come a little late."""
    deadline, pause = time.monotonic() + patience, 0.1
    while True:
        found = {seat.rank: text for seat in seats if (text := problem_of(seat.host, seat.pod_ip, resolve))}
        if not found or time.monotonic() + pause > deadline:
            return found
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
