"""Tensors of a checkpoint by their published names, one at a time, whatever files and fusions hold them.

Files are mapped, not read: a tensor costs memory only while it is in use.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from hunyuan_runtime.checkpoint.headers import Entry, read_header, weight_files
from hunyuan_runtime.checkpoint.names import unfused
from hunyuan_runtime.model import HunYuanConfig

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def meta_tensors(file: Path, config: HunYuanConfig) -> Iterator[tuple[str, Tensor]]:
    """A file's tensors under their published names, without their data.

    Raises:
        RuntimeFailure: the file is torn.
        ValueError: a fused tensor can't be cut, or a dtype is unknown.

    """
    for _, part, tensor in _meta_tensors(file, config):
        yield part, tensor


def _meta_tensors(file: Path, config: HunYuanConfig) -> Iterator[tuple[str, str, Tensor]]:
    for name, entry in read_header(file).items():
        if entry.dtype not in DTYPES:
            raise ValueError(f"{name} has dtype {entry.dtype}, which this runtime doesn't know")
        whole = torch.empty(entry.shape, dtype=DTYPES[entry.dtype], device="meta")
        for part, tensor in unfused([(name, whole)], config):
            yield name, part, tensor


class Reader:
    """The tensors of a folder that passed the checks."""

    def __init__(self, folder: Path, config: HunYuanConfig) -> None:
        self.config = config
        self.files, _ = weight_files(folder)
        self.entries: dict[str, Entry] = {}
        self._places: dict[str, tuple[Path, str]] = {}
        for file in self.files:
            for stored, name, tensor in _meta_tensors(file, config):
                self._places[name] = file, stored
                self.entries[name] = Entry(NAMES[tensor.dtype], tuple(tensor.shape))

    def __iter__(self) -> Iterator[str]:
        """Names in the order of the files."""
        return iter(self.entries)

    def get(self, name: str) -> Tensor:
        """The tensor; its memory is the file's map."""
        file, stored = self._places[name]
        return dict(unfused([(stored, _open(file)(stored))], self.config))[name]


@lru_cache(maxsize=2)
def _open(file: Path) -> Any:
    """A function from stored names to tensors. Two files, because neighbours in a layer may be in two."""
    if file.suffix == ".bin":
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True).__getitem__
    return safe_open(file, framework="pt").get_tensor
