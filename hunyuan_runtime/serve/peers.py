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

Ask = Callable[[str], str | None]
"""Of a rank's address: what it says against itself, empty if nothing; None when it doesn't answer."""


def ask_status(host: str) -> RuntimeStatus | None:
    """The status of a rank; None when it can't be had."""
    host = f"[{host}]" if ":" in host else host
    try:
        return RuntimeStatus.model_validate_json(fetch(f"http://{host}:{Port.STATUS}/status", timeout=_TIMEOUT))
    except (*FAILURES, ValueError):
        return None


def ask_suspect(host: str) -> str | None:
    status = ask_status(host)
    return None if status is None else status.suspect


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What is known of a rank: for how many seconds it has not answered, and what it last said against itself."""

    rank: int
    silent: float = 0.0
    suspect: str = ""


class Peers:
    """Asks each rank from a thread of its own, so that one which doesn't answer delays no other."""

    def __init__(self, ask: Ask = ask_suspect) -> None:
        self._ask = ask
        self._heard: dict[int, tuple[float, str]] = {}

    def watch(self, addresses: Mapping[int, str]) -> None:
        """Begin; the silence of a rank that never answers counts from here."""
        for rank, address in addresses.items():
            self._heard[rank] = (time.monotonic(), "")
            threading.Thread(target=self._follow, args=(rank, address), name=f"peer-{rank}", daemon=True).start()

    def look(self) -> list[Peer]:
        now = time.monotonic()
        return [
            Peer(rank=rank, silent=now - heard, suspect=suspect)
            for rank, (heard, suspect) in sorted(self._heard.items())
        ]

    def _follow(self, rank: int, address: str) -> None:
        while True:
            if (suspect := self._ask(address)) is not None:
                self._heard[rank] = (time.monotonic(), suspect)
            time.sleep(EVERY)
