"""Is the model's folder what the engine can load? Told from headers and sizes, in seconds for hundreds of GB.

Imports neither torch nor vLLM: a wrong path or a torn download must be known before anything slow begins.
"""

import json
import re
from pathlib import Path
from typing import Any

from hunyuan_runtime.checkpoint.headers import Header, invalid, read_header, weight_files
from hunyuan_runtime.termination import Cause, RuntimeFailure

_NUMBERED = re.compile(r"-(\d{5,})-of-(\d{5,})(\.\w+)$")


def check_folder(folder: Path) -> None:
    """Raise ``ModelNotFound`` when there is no model at this path."""
    if not folder.is_dir():
        raise RuntimeFailure(Cause.ModelNotFound, f"{folder} doesn't exist in the model's volume{_nearest(folder)}")
    if not (folder / "config.json").is_file():
        raise RuntimeFailure(Cause.ModelNotFound, f"{folder} is no model folder: it holds no config.json")


def _nearest(folder: Path) -> str:
    parent = next((parent for parent in folder.parents if parent.is_dir()), None)
    if parent is None:
        return ""
    names = sorted(path.name for path in parent.iterdir())
    return f"; {parent} holds {', '.join(names[:10]) or 'nothing'}{', …' if len(names) > 10 else ''}"


def check_weights(folder: Path) -> None:
    """Raise ``CheckpointInvalid`` naming the file, and the tensor where it is one, that can't be loaded."""
    files, index = weight_files(folder)
    tensors = {file.name: read_header(file) for file in files}
    if index.exists():
        _check_index(index, tensors)
    else:
        _check_numbers(index, sorted(tensors))


def _check_index(index: Path, tensors: dict[str, Header]) -> None:
    folder = index.parent
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise invalid(index, "has no weight_map")
    for tensor, name in weight_map.items():
        if name not in tensors:
            raise invalid(folder / str(name), f"is missing; the index says that it holds {tensor}")
        if tensor not in tensors[name]:
            raise invalid(folder / name, f"doesn't hold {tensor}, which the index says")
    if foreign := sorted(set(tensors) - set(weight_map.values())):
        raise invalid(folder / foreign[0], "is not in the index; the engine would read it as a part of the model")


def _check_numbers(index: Path, files: list[str]) -> None:
    """Without an index the shards' own numbers say whether all are there."""
    if len(files) == 1 and not _NUMBERED.search(files[0]):
        return
    for file in files:
        if not _NUMBERED.search(file):
            raise invalid(index, f"is missing, and {file} bears no number: which of {len(files)} files are the model?")
    example, count = files[-1], int(files[-1].rpartition("-of-")[2].partition(".")[0])
    wanted = [_NUMBERED.sub(rf"-{number:05}-of-\2\3", example) for number in range(1, count + 1)]
    if missing := sorted(set(wanted) - set(files)):
        raise invalid(index.parent / missing[0], f"is missing; {example} says that there are {count}")
    if foreign := sorted(set(files) - set(wanted)):
        raise invalid(index, f"is missing, and {foreign[0]} is none of the {count} files of which {example} is one")


def check_config(folder: Path) -> bool:
    """Raise ``CheckpointInvalid`` when config.json isn't Hunyuan-Large's; True when its weights are quantised."""
    path = folder / "config.json"
    config = read_json(path)
    if config.get("model_type") != "hunyuan":
        raise invalid(path, f"has model_type {config.get('model_type')!r}; this runtime serves 'hunyuan'")
    return "quantization_config" in config


def read_json(path: Path, cause: Cause = Cause.CheckpointInvalid) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeFailure(cause, f"{path} can't be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise RuntimeFailure(cause, f"{path} holds no JSON object")
    return value
