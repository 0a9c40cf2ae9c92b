"""Whether another pod of the run can still be reached, by its status server.

A process that ends breaks its connections, which every rank notices at once. A cut link or a lost node breaks nothing:
collective operations would wait for their whole time-out, and could not say for whom.
"""

from hunyuan_runtime.config import Port, Rank
from hunyuan_runtime.serve.http_client import FAILURES, fetch
from hunyuan_runtime.serve.peers import Peers
from hunyuan_runtime.termination import Cause, RuntimeFailure

PATIENCE = 15.0
"""Seconds of silence after which a pod counts as lost."""
_TIMEOUT = 2.0


def answers(host: str) -> str | None:
    """None when it doesn't answer; what it answers is for others."""
    try:
        fetch(f"http://{host}:{Port.STATUS}/status", timeout=_TIMEOUT)
    except FAILURES:
        return None
    return ""


class Silence:
    """Rank 0 asks all others, who ask it. Begins once the ranks have met, since pods don't start at the same time."""

    def __init__(self, rank: Rank, peers: Peers | None = None) -> None:
        self._rank = rank
        self._peers = peers or Peers(ask=answers)

    def watch(self) -> None:
        others = range(1, len(self._rank.peers)) if self._rank.index == 0 else (0,)
        self._peers.watch({index: self._rank.peers[index] for index in others})

    def check(self) -> None:
        """Say who is lost.

        Raises:
            RuntimeFailure: ``RankUnreachable``.

        """
        lost = [peer.rank for peer in self._peers.look() if peer.silent > PATIENCE]
        if lost:
            names = ", ".join(self._rank.pod_of(index) for index in lost)
            raise RuntimeFailure(
                Cause.RankUnreachable,
                f"{self._rank.pod} has had no answer from {names} for {PATIENCE:.0f} s",
                ranks=tuple(lost),
            )
