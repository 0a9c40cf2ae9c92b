"""How far the ranks have come through the checkpoint while the engine loads.

Every rank passes the whole checkpoint and copies its part of each tensor, so the bytes that have passed by measure the
work on every rank alike, and the group is as far as its slowest rank. Ranks leave their count in the store of Ray's
head, where the driver looks: no port, no file and no message of their own, and nothing at all where there is no Ray.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ray.experimental import internal_kv
from ray.experimental.internal_kv import GcsClient
from torch import Tensor

HEAD_VARIABLE = "RAY_ADDRESS"
"""Where Ray's head is; set in the replica, and so in all that vLLM starts."""
_NAMESPACE = "hunyuan-load"
_INTERVAL = 1.0
"""Seconds between two counts of a rank."""

Tell = Callable[[int], None]


@dataclass(frozen=True)
class Loaded:
    """Bytes of the checkpoint that the slowest rank has passed, and all of them."""

    done: int
    total: int


def counted(
    weights: Iterable[tuple[str, Tensor]], total: int, tell: Tell, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[str, Tensor]]:
    """Hand on the tensors, and tell now and then how many bytes of ``total`` have passed; at the end, that all have."""
    done, told = 0, clock()
    tell(0)
    for name, tensor in weights:
        yield name, tensor
        done += tensor.nbytes
        if (now := clock()) >= told + _INTERVAL:
            tell(min(done, total))
            told = now
    tell(total)


def weight_bytes(folder: Path, patterns: Iterable[str]) -> int:
    """Size of the files that the engine reads: those of the first pattern that fits any."""
    sizes = ([path.stat().st_size for path in folder.glob(pattern)] for pattern in patterns)
    return sum(next(filter(None, sizes), []))


def teller(rank: int, total: int) -> Tell:
    """What takes a rank's count to the head: by Ray, or where vLLM started the rank itself, by a line of its own."""
    if not internal_kv._internal_kv_initialized():
        if HEAD_VARIABLE not in os.environ:
            return lambda _: None
        internal_kv._initialize_internal_kv(GcsClient(address=os.environ[HEAD_VARIABLE]))

    def tell(done: int) -> None:
        internal_kv._internal_kv_put(str(rank), f"{done} {total}", namespace=_NAMESPACE)

    return tell


def loaded(ranks: int) -> Loaded | None:
    """None until every rank has begun."""
    keys = [str(rank) for rank in range(ranks)]
    found = [internal_kv._internal_kv_get(key, namespace=_NAMESPACE) for key in keys]
    counts = [tuple(map(int, one.split())) for one in found if one]
    return Loaded(*min(counts)) if len(counts) == ranks else None
