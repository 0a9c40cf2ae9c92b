"""``python peak.py BASE METHOD=OUTPUT...``: merge each, and print how far this process's memory rose meanwhile."""

import sys
from pathlib import Path

import deepspeed.runtime.zero.stage3  # noqa: F401 - what is imported belongs to what was there before
import torch

from hunyuan_runtime.train.merge import run
from hunyuan_runtime.train_config import LoraConfig
from tests.unit.train_after.models import ALL, RANK, config_of


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) << 10


def main(base: str, *runs: str) -> None:
    torch.set_num_threads(1)
    for method, output in (one.split("=") for one in runs):
        config = config_of(Path(base), Path(output), method=method, lora=LoraConfig(rank=RANK, targets=ALL))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory("VmRSS")
        run(config, lambda _: None)
        print(memory("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
