"""Is the engine dead, and whose fault is it? A pure decision over what the canary and the ranks show.

An engine that makes progress lives, whatever else is seen: a long prefill, a full queue, an agent that is slow to
answer are no faults. Only when it stands still does evidence count, and then it counts at once: a rank with a stopped
process, or a rank that can't be reached. Without any the engine gets ``Limits.stalled``, since a first step of a new
shape may compile for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hunyuan_runtime.serve.peers import Peer
from hunyuan_runtime.termination import Cause, RuntimeFailure


@dataclass(frozen=True, kw_only=True)
class Standstill:
    """For how long a token has been asked for in vain while no counter of the engine moved."""

    seconds: float = 0.0
    refused: bool = False
    """The engine answered, but with an error."""
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds of standstill after which evidence counts, of a rank's silence, and of a standstill without evidence."""

    evidence: float
    silent: float
    stalled: float
    refused: float


DOUBT = 1.5
"""Seconds of a rank's silence: two questions that had no answer."""
SERVING = Limits(evidence=2, silent=3, stalled=60, refused=4)
STARTING = Limits(evidence=10, silent=30, stalled=float("inf"), refused=float("inf"))
"""While the model loads, every core is busy and nothing says that the engine moves; the start has its own deadline."""
DRAINING = Limits(evidence=2, silent=10, stalled=float("inf"), refused=float("inf"))
"""The canary can't ask any more, so silence alone has to tell."""


def doubtful(ranks: Sequence[Peer]) -> bool:
    """Is there anything that would count as evidence, if the engine turned out to stand still?"""
    return any(rank.suspect or rank.silent >= DOUBT for rank in ranks)


def judge(still: Standstill, ranks: Sequence[Peer], limits: Limits) -> RuntimeFailure | None:
    """None while the engine may live. ``ranks`` are all, the leader's own among them."""
    if still.seconds < limits.evidence:
        return None
    for rank in ranks:
        if rank.suspect:
            return RuntimeFailure(Cause.RankHung, f"rank {rank.rank}: {rank.suspect}", ranks=(rank.rank,))
    if silent := [rank for rank in ranks if rank.silent >= limits.silent]:
        return _unreachable(silent)
    limit = limits.refused if still.refused else limits.stalled
    if still.seconds >= limit:
        return RuntimeFailure(
            Cause.EngineFailed, f"the engine stopped answering: no token for {limit:g} s: {still.words}"
        )
    return None


def _unreachable(silent: list[Peer]) -> RuntimeFailure:
    longest = max(silent, key=lambda rank: rank.silent)
    names = ", ".join(str(rank.rank) for rank in silent)
    return RuntimeFailure(
        Cause.RankUnreachable,
        f"the engine stands still, and rank {names} has not answered for {longest.silent:.0f} s",
        ranks=(longest.rank,),
    )
