"""The fp32 master weights in a DeepSpeed checkpoint, one parameter at a time.

Every rank's ``*_optim_states.pt`` holds a flat vector for each group of parameters. ZeRO 1 and 2 lay a group's
parameters end to end, with padding, and cut the result into one piece a rank. ZeRO 3 cuts every parameter into equal
pieces, and a rank's vector holds its piece of each.

Files are mapped, not read: deepspeed's own conversion reads a model's 16-bit copy, and for ZeRO 2 builds all of it in
memory, twice.
"""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hunyuan_runtime.checkpoint.headers import invalid

_RANK = re.compile(r"zero_pp_rank_(\d+)_mp_rank_00_optim_states\.pt$")


class Piece(NamedTuple):
    """A part of a rank's flat vector."""

    rank: int
    group: int
    start: int
    stop: int


class ZeroCheckpoint:
    """Trainable parameters under the names that they had in the training's model.

    Raises:
        RuntimeFailure: ``CheckpointInvalid``: the folder holds no such checkpoint, or not all of its ranks.

    """

    def __init__(self, folder: Path, made_of: str) -> None:
        self.made_of = made_of
        self._files = _rank_files(folder)
        first = self._optimizer(0)
        stage, ranks = int(first["zero_stage"]), _largest(first["partition_count"])
        if ranks != len(self._files):
            raise invalid(folder, f"holds the optimizer of {len(self._files)} ranks instead of {ranks}")
        self._key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
        groups = [{name: tuple(shape) for name, shape in group.items()} for group in self._param_shapes()]
        self.shapes = {name: shape for group in groups for name, shape in group.items()}
        self._maps: list[list[Tensor]] = []
        sizes = [[vector.numel() for vector in vectors] for vectors in self._vectors()]
        paddings = first.get("param_alignment_paddings")
        lengths = [[math.prod(shape) for shape in group.values()] for group in groups]
        pieces = in_equal_pieces(lengths, sizes) if stage == 3 else end_to_end(lengths, sizes, paddings)
        self._pieces = dict(zip(self.shapes, pieces, strict=True))
        for name, shape in self.shapes.items():
            if sum(piece.stop - piece.start for piece in self._pieces[name]) < math.prod(shape):
                raise invalid(folder, f"has vectors that end before {name}")

    def get(self, name: str) -> Tensor:
        vectors = self._vectors()
        parts = [vectors[piece.rank][piece.group][piece.start : piece.stop] for piece in self._pieces[name]]
        size = math.prod(self.shapes[name])
        whole = torch.empty(size, dtype=torch.float32)
        at = 0
        for part in parts:
            length = min(part.numel(), size - at)  # the last pieces of ZeRO 3 are padded
            whole[at : at + length] = part[:length]
            at += length
        return whole.view(self.shapes[name])

    def apply(self, name: str, _base: Tensor) -> Tensor:
        return self.get(name)

    def release(self) -> None:
        """Forget the maps: pages that were read count as this process's memory until then."""
        self._maps = []

    def _vectors(self) -> list[list[Tensor]]:
        if not self._maps:
            self._maps = [list(self._optimizer(rank)[self._key]) for rank in range(len(self._files))]
        return self._maps

    def _optimizer(self, rank: int) -> dict[str, Any]:
        state: dict[str, Any] = _load(self._files[rank])["optimizer_state_dict"]
        return state

    def _param_shapes(self) -> Sequence[dict[str, torch.Size]]:
        folder = self._files[0].parent
        for pattern in ("mp_rank_00_model_states.pt", "*zero_pp_rank_0_mp_rank_00_model_states.pt"):
            for file in folder.glob(pattern):
                shapes: Sequence[dict[str, torch.Size]] = _load(file)["param_shapes"]
                return shapes
        raise invalid(folder, "holds no model states of rank 0")


def _rank_files(folder: Path) -> list[Path]:
    found = {int(match[1]): file for file in folder.rglob("*_optim_states.pt") if (match := _RANK.search(file.name))}
    if sorted(found) != list(range(len(found))) or not found:
        raise invalid(folder, f"holds the optimizer of the ranks {sorted(found)}")
    return [found[rank] for rank in range(len(found))]


def _load(file: Path) -> Any:
    """Tensors, and DeepSpeed's few classes around them: nothing else of a pickle is ever made."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler  # noqa: PLC0415 - slow
    from deepspeed.runtime.zero.config import ZeroStageEnum  # noqa: PLC0415 - likewise
    from deepspeed.utils.tensor_fragment import fragment_address  # noqa: PLC0415 - likewise

    try:
        with torch.serialization.safe_globals(
            [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address, (_member, "builtins.getattr")]
        ):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError, OSError, EOFError, UnpicklingError) as error:
        raise invalid(file, f"can't be read: {error}") from error


def _member(kind: object, name: str) -> object:
    """In place of ``getattr``, by which Python 3.11.0 to 3.11.3 pickle an enum's member: the file may name no more."""
    from deepspeed.runtime.zero.config import ZeroStageEnum  # noqa: PLC0415 - as above

    members: dict[str, object] = dict(ZeroStageEnum.__members__)
    if kind is not ZeroStageEnum or name not in members:
        raise UnpicklingError(f"{name} of {kind}")
    return members[name]


def _largest(counts: int | list[int]) -> int:
    return max(counts) if isinstance(counts, list) else counts


def in_equal_pieces(lengths: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]]) -> Iterator[list[Piece]]:
    """ZeRO 3. ``lengths`` are those of the parameters, by group; ``sizes`` of the vectors, by rank. Pure."""
    ranks = len(sizes)
    group = at = 0
    for length in (length for group in lengths for length in group):
        while at >= sizes[0][group] and group + 1 < len(sizes[0]):
            group, at = group + 1, 0
        share = math.ceil(length / ranks)
        yield [Piece(rank, group, at, min(at + share, sizes[rank][group])) for rank in range(ranks)]
        at += share


def end_to_end(
    lengths: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]], paddings: Sequence[Sequence[int]] | None
) -> Iterator[list[Piece]]:
    """ZeRO 1 and 2, likewise; ``paddings`` come after the parameters."""
    for group, group_lengths in enumerate(lengths):
        bounds = list(pairwise(accumulate((size[group] for size in sizes), initial=0)))
        start = 0
        for number, length in enumerate(group_lengths):
            stop = start + length
            yield [
                Piece(rank, group, max(start, low) - low, min(stop, high) - low)
                for rank, (low, high) in enumerate(bounds)
                if low < stop and start < high
            ]
            start = stop + (paddings[group][number] if paddings else 0)
