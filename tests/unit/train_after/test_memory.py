"""Memory is bounded by a file of the base and a tensor, not by the model."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from tests.unit.quantize.checkpoints import SHAPE
from tests.unit.train_after.models import ALL, full_of, lora_of
from tests.unit.train_after.zero_files import write_checkpoint

SHARD = 8 << 20
PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 8 MB; the largest tensor has 1 MB."""
    folder = tmp_path_factory.mktemp("large") / "base"
    shape = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 8}
    model = HunYuanForCausalLM(HunYuanConfig(**(SHAPE | shape))).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=SHARD)
    return folder


def test_it_needs_a_part_of_the_models_memory(base: Path, tmp_path: Path) -> None:
    for stage in (2, 3):
        write_checkpoint(tmp_path / f"full-{stage}", [full_of(base)], stage=stage)
    write_checkpoint(tmp_path / "lora", [lora_of(base, ALL)[0]])
    shutil.copytree(tmp_path / "lora", tmp_path / "first")
    runs = [f"lora={tmp_path}/first", f"lora={tmp_path}/lora", f"full={tmp_path}/full-2", f"full={tmp_path}/full-3"]
    command: list[str | Path] = [sys.executable, "-m", "tests.unit.train_after.peak", base, *runs]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    needed = [int(line) for line in said.stdout.splitlines()[-3:]]  # the first one imports, too
    size = sum(path.stat().st_size for path in (tmp_path / "lora/merged").glob("*.safetensors"))
    print(f"MiB: {[round(count / 2**20) for count in needed]} for {round(size / 2**20)}")
    # Pages of files that are mapped count: two files of the base, and the ranks' fp32 for one, twice as many bytes.
    assert all(0 < count < 4 * SHARD < size / 4 for count in needed), (needed, size)
