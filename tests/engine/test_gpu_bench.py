"""bench/gpu.sh up to the device: the same steps with a tiny slice on a CPU, and the end where there is no GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.engine

BENCH = Path(__file__).parents[2] / "bench"


def test_a_tiny_slice_goes_all_the_way_on_a_cpu() -> None:
    command: list[str | Path] = [sys.executable, BENCH / "gpu.py", "--device", "cpu", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    speeds = result["told"]["bf16 eager"]["speeds"]
    assert [each["batch"] for each in speeds] == [1, 4, 8]
    assert all(each["decode"] > 0 and each["prefill"] > 0 for each in speeds)
    assert result["kv_ratio"] == pytest.approx(2.0, rel=0.01)
    assert result["fp8_cache"] == {"top_1": 1.0, "moved": 0.0}, "two engines of one shape are the same"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run bench/gpu.sh")
def test_without_a_gpu_the_script_says_what_it_would_show_and_ends() -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run([BENCH / "gpu.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.startswith("bench/gpu.sh shows, on one H100 or H200 in about ten minutes:")
    assert done.stderr.endswith("Error: torch finds no GPU on this machine. Nothing was run.\n")
