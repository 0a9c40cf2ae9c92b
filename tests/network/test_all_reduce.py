"""The NCCL all-reduce on this machine's GPUs; over several it shows the bus bandwidth, over one that NCCL works."""

import os
import socket

import pytest

from hunyuan_runtime.config import PreflightConfig, Rank
from hunyuan_runtime.preflight import all_reduce
from hunyuan_runtime.preflight.messages import Task

pytestmark = pytest.mark.gpu


def test_all_gpus_reduce_and_tell_their_bandwidth() -> None:
    torch = pytest.importorskip("torch")
    count = torch.cuda.device_count()
    if not count:
        pytest.skip("needs a GPU")
    config = PreflightConfig(nodes=1, gpus_per_node=count, join_timeout_seconds=60)
    with socket.create_server(("127.0.0.1", 0)) as free:
        rendezvous = f"127.0.0.1:{free.getsockname()[1]}"
    task = Task(kind="all-reduce", rendezvous=rendezvous, seconds=300)
    rank = Rank(index=0, leader="localhost", pod_ip="127.0.0.1")
    answer = all_reduce.run(task, rank, config, {**os.environ, "NCCL_SOCKET_IFNAME": "=lo"})
    print(f"{answer.bits_per_second / 1e9:.0f} Gbit/s over {count} GPUs")
    assert answer.problems == {}
    assert count == 1 or answer.bits_per_second > 100_000_000_000, "any interconnect of GPUs in one machine does more"
