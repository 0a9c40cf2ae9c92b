"""The weights of the quantised checkpoint, one file after the other.

Output files are cut by size whatever the source's are, so memory is bounded by one of them and one tensor.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from hunyuan_runtime.checkpoint.output import is_whole, write_whole
from hunyuan_runtime.checkpoint.reader import Reader
from hunyuan_runtime.quantize.calibration import LayerScales
from hunyuan_runtime.quantize.formats import input_group, is_quantised, weight_group
from hunyuan_runtime.quantize.numbers import quantised

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
