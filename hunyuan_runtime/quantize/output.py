"""Write the quantised checkpoint, one file after the other, each whole or not at all.

Output files are cut by size whatever the source's are, so memory is bounded by one of them and one tensor.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from hunyuan_runtime.checkpoint.headers import KINDS, read_header
from hunyuan_runtime.checkpoint.reader import Reader
from hunyuan_runtime.quantize.calibration import LayerScales
from hunyuan_runtime.quantize.formats import input_group, is_quantised, weight_group
from hunyuan_runtime.quantize.numbers import quantised
from hunyuan_runtime.termination import RuntimeFailure

INDEX = KINDS[0][1]
_SCALE_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Shard:
    """An output file and the source's tensors of which it is made."""

    name: str
    tensors: tuple[str, ...]
    size: int


def plan_shards(sizes: Mapping[str, int], limit: int) -> list[Shard]:
    """In the source's order; no file is larger than ``limit`` unless it holds one tensor only. Pure."""
    groups: list[list[str]] = [[]]
    room = limit
    for name, size in sizes.items():
        if size > room and groups[-1]:
            groups.append([])
            room = limit
        groups[-1].append(name)
        room -= size
    return [
        Shard(
            name=f"model-{number:05}-of-{len(groups):05}.safetensors",
            tensors=tuple(group),
            size=sum(sizes[name] for name in group),
        )
        for number, group in enumerate(groups, start=1)
    ]


def output_sizes(reader: Reader, wanted: set[str]) -> dict[str, int]:
    """Bytes of what becomes of each wanted tensor, in the source's order."""
    return {name: _output_size(name, reader) for name in reader if name in wanted}


def _output_size(name: str, reader: Reader) -> int:
    entry = reader.entries[name]
    return entry.size if not is_quantised(name) else entry.elements + 4 * _SCALE_BYTES


def output_tensors(name: str, tensor: Tensor, layers: Sequence[LayerScales]) -> Iterator[tuple[str, Tensor]]:
    """What a tensor of the source becomes: itself, or eight bits and scales; the cache's scales come with v_proj."""
    if not is_quantised(name):
        yield name, tensor.contiguous()
        return
    module = name.removesuffix(".weight")
    layer, _, inner = module.removeprefix("model.layers.").partition(".")
    scales = layers[int(layer)]
    yield name, quantised(tensor, scales.weights[weight_group(inner)])
    yield f"{module}.weight_scale", torch.tensor(scales.weights[weight_group(inner)])
    yield f"{module}.input_scale", torch.tensor(scales.inputs[input_group(inner)])
    if inner == "self_attn.v_proj":
        assert scales.k_scale is not None
        assert scales.v_scale is not None
        yield f"model.layers.{layer}.self_attn.k_scale", torch.tensor(scales.k_scale)
        yield f"model.layers.{layer}.self_attn.v_scale", torch.tensor(scales.v_scale)


def write_shards(
    reader: Reader, shards: Sequence[Shard], layers: Sequence[LayerScales], folder: Path, told: Callable[[int], None]
) -> None:
    """Write what isn't there yet; ``told`` gets the bytes that are done."""
    done = 0
    for shard in shards:
        path = folder / shard.name
        if not is_whole(path):
            tensors = {
                out: value for name in shard.tensors for out, value in output_tensors(name, reader.get(name), layers)
            }
            write_whole(path, lambda at, tensors=tensors: save_file(tensors, at, metadata={"format": "pt"}))  # type: ignore[misc]
        done += shard.size
        told(done)


def is_whole(path: Path) -> bool:
    try:
        return path.exists() and bool(read_header(path))
    except RuntimeFailure:
        return False


def write_index(shards: Sequence[Shard], folder: Path) -> None:
    headers = {shard.name: read_header(folder / shard.name) for shard in shards}
    total = sum(entry.size for header in headers.values() for entry in header.values())
    weight_map = {tensor: file for file, header in headers.items() for tensor in header}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def copy_others(source: Path, folder: Path) -> None:
    """Tokenizer, generation settings, licence: all that is neither weights nor about them."""
    for path in other_files(source):
        write_whole(folder / path.name, lambda at, path=path: shutil.copyfile(path, at))  # type: ignore[misc]


def other_files(source: Path) -> list[Path]:
    ours = {"config.json", *(index for _, index in KINDS)}
    weights = {".safetensors", ".bin", ".pt", ".pth"}
    return [
        path
        for path in sorted(source.iterdir())
        if path.is_file() and path.name not in ours and path.suffix not in weights and not path.name.startswith(".")
    ]


def write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_whole(path, lambda at: at.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """The file appears with all its bytes on the disk, and everybody may read it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    write(unfinished)
    unfinished.chmod(0o644)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
