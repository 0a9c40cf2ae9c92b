"""How the other ranks are, as their own status servers tell."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hunyuan_runtime.config import Port, RuntimeStatus
from hunyuan_runtime.serve.http_client import FAILURES, fetch

EVERY = 0.5
"""Seconds between two questions to a rank."""
_TIMEOUT = 1.0

Ask = Callable[[str], RuntimeStatus | None]


def ask_status(host: str) -> RuntimeStatus | None:
    """The status of a rank; None when it can't be had."""
    host = f"[{host}]" if ":" in host else host
    try:
        return RuntimeStatus.model_validate_json(fetch(f"http://{host}:{Port.STATUS}/status", timeout=_TIMEOUT))
    except (*FAILURES, ValueError):
        return None


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What is known of a rank: for how many seconds it has not answered, and what it last said against itself."""

    rank: int
    silent: float = 0.0
    suspect: str = ""


class Peers:
    """Asks each rank from a thread of its own, so that one which doesn't answer delays no other."""

    def __init__(self, ask: Ask = ask_status) -> None:
        self._ask = ask
        self._heard: dict[int, tuple[float, RuntimeStatus | None]] = {}

    def watch(self, addresses: Mapping[int, str]) -> None:
        """Begin; the silence of a rank that never answers counts from here."""
        for rank, address in addresses.items():
            self._heard[rank] = (time.monotonic(), None)
            threading.Thread(target=self._follow, args=(rank, address), name=f"peer-{rank}", daemon=True).start()

    def look(self) -> list[Peer]:
        now = time.monotonic()
        return [
            Peer(rank=rank, silent=now - heard, suspect=status.suspect if status else "")
            for rank, (heard, status) in sorted(self._heard.items())
        ]

    def _follow(self, rank: int, address: str) -> None:
        while True:
            if status := self._ask(address):
                self._heard[rank] = (time.monotonic(), status)
            time.sleep(EVERY)
