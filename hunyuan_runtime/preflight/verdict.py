"""What the answers of all members mean: a report, or a failure that names the bad links and the rank to blame."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hunyuan_runtime.config import NetworkReport
from hunyuan_runtime.preflight.links import Limits
from hunyuan_runtime.preflight.messages import Answer, Seat
from hunyuan_runtime.termination import Cause, RuntimeFailure

_TOLD = 3
"""Links that a message names; of a broken switch there are hundreds."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """From ``source`` to ``target``, which is where it was measured."""

    source: Seat
    target: Seat
    bits_per_second: int
    latency_ms: float


def blamed(links: Iterable[tuple[int, ...]]) -> int:
    """The rank that most of the bad links have in common; of several the highest, since rank 0 tells of all."""
    counts = Counter(rank for link in links for rank in set(link))
    return max(counts, key=lambda rank: (counts[rank], rank))


def check_answers(seats: Sequence[Seat], answers: Mapping[int, Answer], verb: str) -> None:
    """Raise ``NetworkFailed`` if a member had a problem with another. ``verb`` is what it can't do to it."""
    bad = [(rank, other, told) for rank, answer in sorted(answers.items()) for other, told in answer.problems.items()]
    if bad:
        texts = [
            f"{seats[rank]}: {told}" if rank == other else f"{seats[rank]} can't {verb} {seats[other]}: {told}"
            for rank, other, told in bad
        ]
        raise _failure(Cause.NetworkFailed, texts, [(rank, other) for rank, other, _ in bad])


def judge(measured: Sequence[Measurement], limits: Limits, seats: Sequence[Seat], all_reduce: int = 0) -> NetworkReport:
    """The report on links that all keep within the limits.

    Raises:
        RuntimeFailure: ``NetworkSlow``.

    """
    texts, links = [], []
    for one in measured:
        for text in _shortfalls(one, limits):
            texts.append(f"{one.source} to {one.target}: {text}")
            links.append((one.source.rank, one.target.rank))
    if texts:
        raise _failure(Cause.NetworkSlow, texts, links)
    if all_reduce and all_reduce < limits.min_bits_per_second:
        floor = rate(limits.min_bits_per_second)
        raise RuntimeFailure(
            Cause.NetworkSlow, f"an all-reduce over all GPUs moves {rate(all_reduce)}, less than {floor}"
        )
    slowest = min(measured, key=lambda one: one.bits_per_second)
    return NetworkReport(
        interface=seats[0].interface,
        links=len(measured) // 2,
        bits_per_second=slowest.bits_per_second,
        slowest=f"{slowest.source.node or slowest.source.pod} to {slowest.target.node or slowest.target.pod}",
        latency_ms=round(max(one.latency_ms for one in measured), 3),
        rdma=seats[0].rdma,
        all_reduce_bits_per_second=all_reduce,
    )


def rate(bits: float) -> str:
    """Such as ``9.41 Gbit/s``."""
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= size:
            return f"{bits / size:.3g} {unit}"
    return f"{bits:.0f} bit/s"


def _shortfalls(one: Measurement, limits: Limits) -> list[str]:
    found = []
    if one.latency_ms > limits.max_latency_ms:
        found.append(f"a round trip takes {one.latency_ms:.3g} ms, more than {limits.max_latency_ms:g} ms")
    if one.bits_per_second < limits.min_bits_per_second:
        found.append(f"{rate(one.bits_per_second)} arrive, less than {rate(limits.min_bits_per_second)}")
    return found


def _failure(cause: Cause, texts: list[str], links: list[tuple[int, int]]) -> RuntimeFailure:
    """The ranks in the order of blame: the first is the culprit."""
    culprit = blamed(links)
    others = sorted({rank for link in links for rank in link} - {culprit})
    more = f"; and {len(texts) - _TOLD} more" if len(texts) > _TOLD else ""
    return RuntimeFailure(cause, "; ".join(texts[:_TOLD]) + more, ranks=(culprit, *others))
