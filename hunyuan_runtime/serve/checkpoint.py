"""Is the model's folder what the engine can load? Told from headers and sizes, in seconds for hundreds of GB.

Imports neither torch nor vLLM: a wrong path or a torn download must be known before anything slow begins.
"""

import json
import os
from pathlib import Path
from typing import Any

from hunyuan_runtime.termination import Cause, RuntimeFailure

Shapes = dict[str, tuple[int, ...]]

INDEX = "model.safetensors.index.json"
_LENGTH_BYTES = 8
_HEADER_LIMIT = 100_000_000
"""Of safetensors itself: a longer header is no header."""


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
    files = {path.name for path in folder.glob("*.safetensors")}
    if not files:
        raise _invalid(folder, "holds no *.safetensors")
    if not (folder / INDEX).exists() and len(files) > 1:
        raise _invalid(folder / INDEX, f"is missing, but there are {len(files)} *.safetensors files")
    tensors = {name: read_header(folder / name) for name in sorted(files)}
    if (folder / INDEX).exists():
        _check_index(folder, tensors)


def _check_index(folder: Path, tensors: dict[str, Shapes]) -> None:
    path = folder / INDEX
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _invalid(path, "has no weight_map")
    for tensor, name in weight_map.items():
        if name not in tensors:
            raise _invalid(folder / str(name), f"is missing; the index says that it holds {tensor}")
        if tensor not in tensors[name]:
            raise _invalid(folder / name, f"doesn't hold {tensor}, which the index says")
    if foreign := sorted(set(tensors) - set(weight_map.values())):
        raise _invalid(folder / foreign[0], "is not in the index; the engine would read it as a part of the model")


def read_header(path: Path) -> Shapes:
    """The tensors of a safetensors file whose size is what its header promises."""
    size, raw = _raw_header(path)
    length = len(raw)
    try:
        header = {name: tensor for name, tensor in json.loads(raw).items() if name != "__metadata__"}
        ends = {name: tensor["data_offsets"][1] for name, tensor in header.items()}
        shapes = {name: tuple(map(int, tensor["shape"])) for name, tensor in header.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _invalid(path, f"has a broken safetensors header: {error}") from error
    last = max(ends, key=lambda name: ends[name], default="")
    promised = _LENGTH_BYTES + length + ends.get(last, 0)
    if size != promised:
        torn = f": {last} ends beyond what is there" if size < promised else ""
        raise _invalid(path, f"has {size} bytes instead of {promised}{torn}")
    return shapes


def _raw_header(path: Path) -> tuple[int, bytes]:
    """The file's size and its header; a volume that fails may recover, a file that is kept from us stays so."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if size < _LENGTH_BYTES or length > min(_HEADER_LIMIT, size - _LENGTH_BYTES):
                raise _invalid(path, f"is torn or no safetensors file: its {size} bytes end before its header does")
            return size, file.read(length)
    except PermissionError as error:
        raise _invalid(path, f"can't be read as user {os.getuid()}: {error.strerror}") from error
    except OSError as error:
        raise RuntimeFailure(Cause.ModelUnreadable, f"{path}: {error.strerror}") from error


def check_config(folder: Path) -> bool:
    """Raise ``CheckpointInvalid`` when config.json isn't Hunyuan-Large's; True when its weights are quantised."""
    path = folder / "config.json"
    config = read_json(path)
    if config.get("model_type") != "hunyuan":
        raise _invalid(path, f"has model_type {config.get('model_type')!r}; this runtime serves 'hunyuan'")
    return "quantization_config" in config


def read_json(path: Path, cause: Cause = Cause.CheckpointInvalid) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeFailure(cause, f"{path} can't be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise RuntimeFailure(cause, f"{path} holds no JSON object")
    return value


def _invalid(path: Path, what: str) -> RuntimeFailure:
    return RuntimeFailure(Cause.CheckpointInvalid, f"{path} {what}")
