"""Is there room for all that a fine-tune will write? Estimated before it begins, from the base's headers.

With P parameters, T of them trained, and m bytes a parameter of what is merged (bf16 and fp16 2, fp32 4)::

    T            full: P; attention: those of self_attn; lora: rank · (inputs + outputs) of each adapted layer
    checkpoint   T · 16       in fp32 the master weights and Adam's two moments, and up to 4 for the weight itself
    adapter      T · 4        lora only
    merged       P · m        the router stays fp32
    fp8          1 byte a quantised weight and 16 for its scales, else as merged

A checkpoint's size is an upper bound: ZeRO 2 writes the weight beside its master (16 measured in fp32), ZeRO 3 doesn't
(12). Offload changes nothing. Frozen weights are in none. While one is written ``keep_checkpoints`` others are there.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hunyuan_runtime.checkpoint.headers import Entry
from hunyuan_runtime.quantize.formats import is_quantised
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.base_model import adapted
from hunyuan_runtime.train_config import TrainConfig

_ITEM_SIZES = {"bf16": 2, "fp16": 2, "fp32": 4}
_CHECKPOINT_BYTES = 16
_SCALES_BYTES = 16
_ROUTER = ".mlp.gate.wg.weight"
_SPARE = 64 << 20
"""Bytes for curves, reports, manifests and the files beside the weights."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes. ``checkpoints`` counts those that are there at the same time."""

    checkpoint: int
    checkpoints: int
    adapter: int
    merged: int
    fp8: int

    @property
    def total(self) -> int:
        return self.checkpoint * self.checkpoints + self.adapter + self.merged + self.fp8 + _SPARE

    def __str__(self) -> str:
        parts = [f"{self.checkpoints} checkpoints of {gigabytes(self.checkpoint)}"]
        parts += [f"{name} {gigabytes(size)}" for name in ("adapter", "merged", "fp8") if (size := getattr(self, name))]
        return ", ".join([*parts, f"{gigabytes(_SPARE)} to spare"])


def needs_of(config: TrainConfig, tensors: Mapping[str, Entry]) -> Needs:
    """See the module's text.

    Raises:
        RuntimeFailure: ``ConfigInvalid``: LoRA's targets aren't in the model.

    """
    trained = _trained_elements(config, tensors)
    merged = {name: entry.elements * _merged_bytes(name, config) for name, entry in tensors.items()}
    fp8 = [entry.elements + _SCALES_BYTES if is_quantised(name) else merged[name] for name, entry in tensors.items()]
    return Needs(
        checkpoint=trained * _CHECKPOINT_BYTES,
        checkpoints=config.keep_checkpoints + 1,
        adapter=trained * 4 if config.method == "lora" else 0,
        merged=sum(merged.values()),
        fp8=sum(fp8) if config.quantize == "fp8" else 0,
    )


def _merged_bytes(name: str, config: TrainConfig) -> int:
    return 4 if name.endswith(_ROUTER) else _ITEM_SIZES[config.merge_dtype]


def _trained_elements(config: TrainConfig, tensors: Mapping[str, Entry]) -> int:
    match config.method:
        case "lora":
            layers = adapted(tensors, config.lora.targets)
            return config.lora.rank * sum(sum(entry.shape) for entry in layers.values())
        case "attention":
            return sum(entry.elements for name, entry in tensors.items() if ".self_attn." in name)
        case "full":
            return sum(entry.elements for entry in tensors.values())


def check_space(needs: Needs, output: Path) -> None:
    """What an earlier attempt left in ``output`` is replaced or gone on with, so it counts as room.

    Raises:
        RuntimeFailure: ``SpaceInsufficient`` with the numbers.

    """
    free = shutil.disk_usage(output).free
    there = sum(path.stat().st_size for path in output.rglob("*") if path.is_file() and not path.is_symlink())
    if needs.total > free + there:
        held = f" and {gigabytes(there)} of this fine-tune's own" if there else ""
        raise RuntimeFailure(
            Cause.SpaceInsufficient,
            f"the volume of {output} has {gigabytes(free)} free{held}; needed are {gigabytes(needs.total)}: {needs}",
        )


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
