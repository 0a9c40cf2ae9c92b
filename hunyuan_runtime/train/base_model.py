"""Can the base model be tuned as asked? Told from configuration and headers, without a weight being read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from hunyuan_runtime.checkpoint.headers import Entry
from hunyuan_runtime.checkpoint.reader import Reader
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.architecture import check_architecture
from hunyuan_runtime.serve.checkpoint import check_folder, check_weights, read_json
from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.termination import Cause, RuntimeFailure

ARCHITECTURE = "HunYuanForCausalLM"

_LINEAR = re.compile(r"\.((?:q|k|v|o|gate|up|down)_proj)\.weight$")
"""Layers that LoRA can adapt. Not the router, whose weight is read without a call of its layer, and not the embedding,
which is tied to the output."""


@dataclass(frozen=True)
class BaseModel:
    """What the checks found: tensors by their published names, and the tokenizer that serving uses."""

    tensors: Mapping[str, Entry]
    tokenizer: Any


def open_base(folder: Path, scratch: Path) -> BaseModel:
    """Check the whole of a base checkpoint; ``scratch`` gets the tokenizer where it has to be converted.

    Raises:
        RuntimeFailure: ``ModelNotFound``, ``ModelUnsupported``, ``TokenizerInvalid`` or ``CheckpointInvalid``.

    """
    check_folder(folder)
    check_supported(folder)
    check_weights(folder)
    check_architecture(folder)
    config = HunYuanConfig.from_pretrained(folder)
    return BaseModel(Reader(folder, config).entries, load_tokenizer(folder, scratch, config.vocab_size))


def check_supported(folder: Path) -> None:
    """Raise ``ModelUnsupported`` for another architecture, and for weights that are quantised already."""
    path = folder / "config.json"
    config = read_json(path)
    architectures = config.get("architectures") or []
    if ARCHITECTURE not in architectures or config.get("model_type") != "hunyuan":
        found = f"architectures {architectures}, model_type {config.get('model_type')!r}"
        raise RuntimeFailure(
            Cause.ModelUnsupported, f"{path} has {found}; what can be tuned is {ARCHITECTURE} of model_type 'hunyuan'"
        )
    if "quantization_config" in config:
        raise RuntimeFailure(
            Cause.ModelUnsupported,
            f"{path} has a quantization_config: tune the BF16 checkpoint and quantise the result",
        )


def load_tokenizer(folder: Path, scratch: Path, vocab_size: int) -> Any:
    """Raise ``TokenizerInvalid`` where it can't be loaded, or has tokens that the model has not."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(prepare_tokenizer(folder, scratch))
    except RuntimeFailure:
        raise
    except Exception as error:  # transformers raises what the files make it run into
        raise RuntimeFailure(Cause.TokenizerInvalid, f"the tokenizer in {folder} can't be loaded: {error}") from error
    if len(tokenizer) > vocab_size:
        raise RuntimeFailure(
            Cause.TokenizerInvalid,
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, the model {vocab_size}: is it another model's?",
        )
    return tokenizer


def adapted(tensors: Mapping[str, Entry], targets: Sequence[str]) -> dict[str, Entry]:
    """The weights to which LoRA with these targets adds: a target is a layer's name or the end of its path, as in peft.

    Raises:
        RuntimeFailure: ``ConfigInvalid``: the model has no such layer.

    """
    linear = {name: entry for name, entry in tensors.items() if _LINEAR.search(name)}
    found: dict[str, Entry] = {}
    for target in targets:
        matches = {name: entry for name, entry in linear.items() if f".{name}".endswith(f".{target}.weight")}
        if not matches:
            known = sorted({match[1] for name in linear if (match := _LINEAR.search(name))})
            raise RuntimeFailure(
                Cause.ConfigInvalid,
                f"lora.targets: the model has no layer {target!r} to adapt; it has {', '.join(known)}",
            )
        found |= matches
    if not found:
        raise RuntimeFailure(Cause.ConfigInvalid, "lora.targets is empty: there is nothing to train")
    return found
