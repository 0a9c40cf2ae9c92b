"""How the ranks of a run meet, and for how long each waits for the others.

All connect to the store in rank 0's pod and leave a mark there, so that who is missing can be named; then the process
group is made over the same store. From then on the process group's time-out is what ends a rank whose peer is lost
without a trace; a peer whose connection breaks is noticed at once.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import groups
from torch._C._distributed_c10d import PrefixStore, TCPStore

from hunyuan_runtime.config import Rank
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train_config import TrainConfig

IO_PATIENCE = timedelta(hours=2)
"""While files are read or written the ranks wait for the slowest disk, not for the network."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One process of a run."""

    rank: int
    local: int
    ranks: int
    pod: Rank

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", self.local) if torch.cuda.is_available() else torch.device("cpu")


def meet(seat: Seat, config: TrainConfig) -> None:
    """Make the process group that DeepSpeed uses.

    Raises:
        RuntimeFailure: ``RanksMissing`` with the pods' names, or on others than rank 0 ``LeaderUnreachable``;
            ``ConfigInvalid`` where GPUs are missing.

    """
    _check_gpus(seat, config)
    patience = timedelta(seconds=config.join_timeout_seconds)
    deadline = time.monotonic() + config.join_timeout_seconds
    store = _open_store(seat, patience)
    store.set(f"joined/{seat.rank}", "1")
    try:
        store.wait([f"joined/{rank}" for rank in range(seat.ranks)], patience)
    except dist.DistStoreError as error:
        absent = [rank for rank in range(seat.ranks) if not store.check([f"joined/{rank}"])]
        raise _missing(seat, config, absent) from error
    if seat.device.type == "cuda":
        torch.cuda.set_device(seat.device)
    dist.init_process_group(
        "nccl" if seat.device.type == "cuda" else "gloo",
        store=PrefixStore("group", store),
        rank=seat.rank,
        world_size=seat.ranks,
        timeout=timedelta(seconds=max(1.0, deadline - time.monotonic())),
    )
    deepspeed.init_distributed(dist_backend=dist.get_backend(), verbose=False)
    set_timeout(timedelta(seconds=config.collective_timeout_seconds))


def _check_gpus(seat: Seat, config: TrainConfig) -> None:
    """A driver that isn't there must not turn a run on GPUs into one on CPUs."""
    wanted = 0 if os.environ.get("HUNYUAN_DEVICE", "cuda") == "cpu" else config.gpus_per_node
    if torch.cuda.device_count() < wanted:
        raise RuntimeFailure(
            Cause.ConfigInvalid,
            f"{seat.pod.pod} sees {torch.cuda.device_count()} GPUs, not {wanted}: is it its driver?",
        )


def _open_store(seat: Seat, patience: timedelta) -> TCPStore:
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        return TCPStore(host, port, seat.ranks, is_master=seat.rank == 0, timeout=patience, wait_for_workers=False)
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        if seat.rank == 0:
            raise
        raise RuntimeFailure(
            Cause.LeaderUnreachable,
            f"{seat.pod.pod} could not reach rank 0 at {host}:{port} within {patience.seconds} s",
            ranks=(0,),
        ) from error


def _missing(seat: Seat, config: TrainConfig, absent: Sequence[int]) -> RuntimeFailure:
    pods = sorted({rank // config.gpus_per_node for rank in absent})
    names = ", ".join(map(seat.pod.pod_of, pods))
    return RuntimeFailure(
        Cause.RanksMissing,
        f"not met within {config.join_timeout_seconds} s: {names or 'all came late'}",
        ranks=tuple(pods),
    )


def set_timeout(timeout: timedelta) -> None:
    """Of the world's group and DeepSpeed's copy of it, which its collectives use and which has torch's half hour."""
    for group in (dist.group.WORLD, groups._clone_world_group()):
        dist.distributed_c10d._set_pg_timeout(timeout, group)


@contextmanager
def patient(config: TrainConfig) -> Iterator[None]:
    """While files are read or written."""
    set_timeout(IO_PATIENCE)
    try:
        yield
    finally:
        set_timeout(timedelta(seconds=config.collective_timeout_seconds))
