"""What tensors the files of a checkpoint hold, told without reading a weight. Imports neither torch nor vLLM.

Two kinds of files: safetensors, and the zip archives that ``torch.save`` writes (``pytorch_model*.bin``). The pickle in
an archive is read by an unpickler that knows the few names of which tensors are made and refuses all others, so nothing
of the file is ever run. Every file must be as long as its header promises.
"""

import collections
import json
import math
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from hunyuan_runtime.termination import Cause, RuntimeFailure


class Entry(NamedTuple):
    """A tensor: its dtype as safetensors spells it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.elements * ITEM_SIZES.get(self.dtype, 1)


Header = dict[str, Entry]

ITEM_SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2}
"""Bytes of the dtypes that have more than one."""
KINDS = (
    ("model*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model*.bin", "pytorch_model.bin.index.json"),
)
"""Files and index by transformers' names, in the order in which the engine looks for them. Other files (an adapter, an
optimizer's state) are not the model's."""

_LENGTH_BYTES = 8
_HEADER_LIMIT = 100_000_000
"""Of safetensors itself: a longer header is no header."""
_LOCAL_HEADER = 30
"""Bytes of a zip member's own header before its name."""


def weight_files(folder: Path) -> tuple[list[Path], Path]:
    """The files that hold the model, in order, and where their index would be.

    Raises:
        RuntimeFailure: ``CheckpointInvalid``: there are none.

    """
    for pattern, index in KINDS:
        if files := sorted(folder.glob(pattern)):
            return files, folder / index
    raise invalid(folder, f"holds neither {KINDS[0][0]} nor {KINDS[1][0]}")


def read_header(path: Path) -> Header:
    """The tensors of a file that is as long as it should be.

    Raises:
        RuntimeFailure: ``CheckpointInvalid`` with the file, and the tensor that is torn; ``ModelUnreadable`` where the
            volume fails, which may recover.

    """
    try:
        return _read_archive(path) if path.suffix == ".bin" else _read_safetensors(path)
    except PermissionError as error:
        raise invalid(path, f"can't be read as user {os.getuid()}: {error.strerror}") from error
    except OSError as error:
        raise RuntimeFailure(Cause.ModelUnreadable, f"{path}: {error.strerror}") from error


def _read_safetensors(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > min(_HEADER_LIMIT, size - _LENGTH_BYTES):
            raise invalid(path, f"is torn or no safetensors file: its {size} bytes end before its header does")
        raw = file.read(length)
    try:
        header = {name: tensor for name, tensor in json.loads(raw).items() if name != "__metadata__"}
        ends = {name: tensor["data_offsets"][1] for name, tensor in header.items()}
        entries = {
            name: Entry(str(tensor["dtype"]), tuple(map(int, tensor["shape"]))) for name, tensor in header.items()
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise invalid(path, f"has a broken safetensors header: {error}") from error
    promised = _LENGTH_BYTES + length + max(ends.values(), default=0)
    if size < promised:
        first = min((end, name) for name, end in ends.items() if _LENGTH_BYTES + length + end > size)[1]
        raise invalid(path, f"has {size} bytes instead of {promised}: {first} ends beyond what is there")
    if size > promised:
        raise invalid(path, f"has {size} bytes instead of {promised}")
    return entries


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    entry: Entry
    storage: _Storage


class _Name(str):
    """A global of torch that is only compared, never called."""

    __slots__ = ()


_DTYPES = {
    "DoubleStorage": "F64", "float64": "F64", "FloatStorage": "F32", "float32": "F32", "HalfStorage": "F16",
    "float16": "F16", "BFloat16Storage": "BF16", "bfloat16": "BF16", "LongStorage": "I64", "int64": "I64",
    "IntStorage": "I32", "int32": "I32", "ShortStorage": "I16", "int16": "I16", "CharStorage": "I8", "int8": "I8",
    "ByteStorage": "U8", "uint8": "U8", "BoolStorage": "BOOL", "bool": "BOOL", "UntypedStorage": "U8",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


def _rebuild_tensor(storage: _Storage, _offset: int, shape: tuple[int, ...], *rest: Any) -> _Tensor:
    dtype = next((_DTYPES[part] for part in rest if isinstance(part, _Name)), storage.dtype)
    return _Tensor(Entry(dtype, tuple(shape)), storage)


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return collections.OrderedDict
            case "torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor_v3":
                return _rebuild_tensor
            case "torch._utils", "_rebuild_parameter":
                return _rebuild_parameter
            case "torch" | "torch.storage", _ if name in _DTYPES:
                return _Name(name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor is made of")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, count = pid
        dtype = _DTYPES[kind]
        return _Storage(key, dtype, count * ITEM_SIZES.get(dtype, 1))


def _read_archive(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        tensors, data = _unpickle(path, file)
    sizes = {tensor.storage.key: tensor.storage.size for tensor in tensors.values()}
    try:
        with zipfile.ZipFile(path) as archive:
            stored = {member.filename.rpartition("/data/")[2]: member.file_size for member in archive.infolist()}
    except zipfile.BadZipFile as error:
        first = _first_torn(tensors, sizes, data, size)
        torn = f"{first} ends beyond what is there" if first else "only the archive's directory is cut off"
        raise invalid(path, f"is torn: it ends after {size} bytes, and {torn}") from error
    for name, tensor in tensors.items():
        if stored.get(tensor.storage.key) != tensor.storage.size:
            raise invalid(
                path, f"holds {stored.get(tensor.storage.key, 0)} bytes of {name} instead of {tensor.storage.size}"
            )
    return {name: tensor.entry for name, tensor in tensors.items()}


def _unpickle(path: Path, file: IO[bytes]) -> tuple[dict[str, _Tensor], int]:
    """The archive's first member, which tells all tensors, and where it ends. It can be read of a torn file, too."""
    start = file.read(_LOCAL_HEADER)
    if not start.startswith(b"PK\x03\x04") or len(start) < _LOCAL_HEADER:
        raise invalid(path, "is empty, or older than torch 1.6: load it with torch and save it anew")
    name = file.read(int.from_bytes(start[26:28], "little"))
    file.seek(int.from_bytes(start[28:30], "little"), 1)
    if not name.endswith(b"/data.pkl"):
        raise invalid(path, "is no file of torch.save: its first member isn't data.pkl")
    try:
        tensors = _Unpickler(file).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise invalid(path, f"can't be read: {error or type(error).__name__}") from error
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise invalid(path, "holds something other than a mapping of names to tensors")
    return dict(tensors), file.tell()


def _first_torn(tensors: dict[str, _Tensor], sizes: dict[str, int], data: int, end: int) -> str | None:
    """The first tensor whose bytes can't all be there: storages follow the pickle in the order of their numbers."""
    for key in sorted(sizes, key=lambda key: (len(key), key)):
        data += sizes[key]
        if data > end:
            return next(name for name, tensor in tensors.items() if tensor.storage.key == key)
    return None


def invalid(path: Path, what: str) -> RuntimeFailure:
    return RuntimeFailure(Cause.CheckpointInvalid, f"{path} {what}")
