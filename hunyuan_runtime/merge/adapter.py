"""LoRA adapters in peft's own format: ``adapter_config.json`` and ``adapter_model.safetensors``."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from hunyuan_runtime.checkpoint.headers import Entry, invalid, read_header
from hunyuan_runtime.checkpoint.output import (
    REPORT,
    OutputRefused,
    file_hash,
    is_free,
    model_in,
    publish,
    saving,
    workplace,
    write_json,
    write_tensors,
)
from hunyuan_runtime.merge.zero import ZeroCheckpoint
from hunyuan_runtime.serve.checkpoint import read_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_PLAIN: dict[str, Any] = {
    "use_dora": False, "use_qalora": False, "use_bdlora": None, "lora_bias": False, "bias": "none",
    "modules_to_save": None, "target_parameters": None, "layer_replication": None, "rank_pattern": {},
    "alpha_pattern": {}, "fan_in_fan_out": False,
}  # fmt: skip
"""Options that change the arithmetic, with the values that don't."""


class Adapter:
    """The change ``W + scale · B·A`` of each tensor that it has, in fp32.

    Raises:
        RuntimeFailure: ``CheckpointInvalid``: it is none, is torn, or isn't plain LoRA; the message names the file.

    """

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / CONFIG)
        if config.get("peft_type") != "LORA":
            raise invalid(folder / CONFIG, f"has peft_type {config.get('peft_type')!r}; only LORA can be merged")
        for option, plain in _PLAIN.items():
            if (value := config.get(option) or plain) != plain:
                raise invalid(folder / CONFIG, f"has {option} {value!r}, which can't be merged")
        rank = int(config["r"])
        self.scale = float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
        self.made_of = hashlib.sha256(
            f"{file_hash(folder / CONFIG)} {file_hash(folder / WEIGHTS)}".encode()
        ).hexdigest()
        self.shapes = _shapes(folder / WEIGHTS)
        self._get: Any = safe_open(folder / WEIGHTS, framework="pt").get_tensor

    def apply(self, name: str, base: Tensor) -> Tensor:
        module = _PREFIX + name.removesuffix(".weight")
        a, b = (self._get(module + part).float() for part in (_A, _B))
        return base.to(torch.float32, copy=True).addmm_(b, a, alpha=self.scale)

    def release(self) -> None:
        """The file stays mapped: an adapter is small."""


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that the adapter changes."""
    header = read_header(file)
    modules = {name.removesuffix(_A).removesuffix(_B) for name in header}
    shapes: dict[str, tuple[int, ...]] = {}
    for module in modules:
        a, b = (header.get(module + part) for part in (_A, _B))
        if a is None or b is None or a.shape[0] != b.shape[1]:
            raise invalid(file, f"has no pair lora_A, lora_B of one rank for {module}")
        shapes[module.removeprefix(_PREFIX) + ".weight"] = (b.shape[0], a.shape[1])
    return shapes


def make_adapter(out: Path, trained: ZeroCheckpoint, **options: Any) -> Adapter:
    """The adapter of a training's LoRA parameters, in ``out``; ``options`` are those of peft's LoraConfig.

    Raises:
        OutputRefused: ``out`` holds something else.
        RuntimeFailure: ``SaveFailed``.

    """
    words = json.dumps([trained.made_of, options], sort_keys=True)
    report = out / REPORT
    if is_free(out):
        with saving(out), workplace(out, words) as partial:
            folder = model_in(partial)
            _write(folder, trained, options)
            write_json(folder / REPORT, {"made_of": words})
            publish(partial, out)
    elif not report.is_file() or read_json(report).get("made_of") != words:
        raise OutputRefused(f"{out} holds another training's adapter: give an empty or a new folder")
    return Adapter(out)


def _write(folder: Path, trained: ZeroCheckpoint, options: dict[str, Any]) -> None:
    """In fp32, under the names that peft gives its parameters in a file."""
    from peft import LoraConfig  # noqa: PLC0415 - to merge an adapter it isn't needed

    stored = {name.replace(".default.weight", ".weight"): name for name in trained.shapes}
    entries = {name: Entry("F32", trained.shapes[inner]) for name, inner in stored.items()}
    write_tensors(folder / WEIGHTS, entries, lambda name: trained.get(stored[name]))
    config: Any = LoraConfig(task_type="CAUSAL_LM", inference_mode=True, **options)
    values = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    write_json(folder / CONFIG, values)
