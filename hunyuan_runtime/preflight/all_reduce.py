"""An NCCL all-reduce over all GPUs of the group: one process a GPU, as the engine will have them.

``python -m hunyuan_runtime.preflight.all_reduce`` is one of these processes. It prints the bus bandwidth in bits per
second, as NCCL's own tests count it: ``2 * (n - 1) / n`` times the bits of the tensor, by the time, which is what the
slowest link carries.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping

from hunyuan_runtime.config import PreflightConfig, Rank
from hunyuan_runtime.preflight.messages import Answer, Task
from hunyuan_runtime.termination import MESSAGE_LIMIT

ELEMENTS = 64 * 2**20
"""Of two bytes: 128 MiB, where bandwidth counts and latency doesn't."""
ROUNDS = 10
WARM_UP = 3


def run(task: Task, rank: Rank, config: PreflightConfig, env: Mapping[str, str]) -> Answer:
    """Start this pod's processes and wait for their ends, not longer than the task may take."""
    deadline = time.monotonic() + task.seconds - 10
    host, _, port = task.rendezvous.rpartition(":")
    common = {
        **env,
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "WORLD_SIZE": str(config.nodes * config.gpus_per_node),
        "NCCL_DEBUG": env.get("NCCL_DEBUG", "WARN"),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", __name__],
            env={**common, "LOCAL_RANK": str(local), "RANK": str(rank.index * config.gpus_per_node + local)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for local in range(config.gpus_per_node)
    ]
    try:
        return _collect(processes, rank, deadline)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _collect(processes: list[subprocess.Popen[str]], rank: Rank, deadline: float) -> Answer:
    rates = []
    for local, process in enumerate(processes):
        try:
            output, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Answer(problems={rank.index: f"GPU {local}: the all-reduce doesn't end"})
        print(output, file=sys.stderr, end="")  # noqa: T201 - the log of a container
        if process.returncode != 0:
            return Answer(problems={rank.index: f"GPU {local}: {output.strip()[-MESSAGE_LIMIT // 8 :]}"})
        rates.append(int(output.split()[-1]))
    return Answer(bits_per_second=min(rates))


def main() -> None:
    import torch  # noqa: PLC0415 - the rest of the preflight does without
    from torch import distributed  # noqa: PLC0415

    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    distributed.init_process_group("nccl", device_id=device)
    tensor = torch.ones(ELEMENTS, dtype=torch.bfloat16, device=device)
    for _ in range(WARM_UP):
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / ROUNDS
    world = distributed.get_world_size()
    moved = 2 * (world - 1) / world * tensor.numel() * tensor.element_size()
    assert bool((tensor == 1).all()), "the all-reduce gave wrong sums"
    distributed.destroy_process_group()
    print(int(moved * 8 / seconds))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
