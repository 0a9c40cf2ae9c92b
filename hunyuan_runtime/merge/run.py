"""Write the merged model: refuse early, one tensor after the other, rename."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from hunyuan_runtime.checkpoint.headers import KINDS, Entry, invalid, read_header, weight_files
from hunyuan_runtime.checkpoint.names import fused, unfused
from hunyuan_runtime.checkpoint.output import (
    REPORT,
    OutputRefused,
    copy_others,
    digest_of,
    file_hash,
    is_free,
    is_whole,
    missing_bytes,
    model_in,
    partial_of,
    publish,
    saving,
    workplace,
    write_index,
    write_json,
    write_tensors,
)
from hunyuan_runtime.checkpoint.reader import DTYPES as STORED_DTYPES
from hunyuan_runtime.checkpoint.reader import NAMES, Reader
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.architecture import check_architecture
from hunyuan_runtime.serve.checkpoint import check_config, check_folder, check_weights, read_json
from hunyuan_runtime.termination import Cause, RuntimeFailure

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
VERSION = 1
"""Of what is written for the same input."""
_ROUTER = ".mlp.gate.wg.weight"
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Change(Protocol):
    """What a training made of the base model's tensors."""

    shapes: dict[str, tuple[int, ...]]
    """Of the tensors that it changes, by their published names."""
    made_of: str
    """Hash of all that it consists of."""

    def apply(self, name: str, base: Tensor) -> Tensor:
        """The changed tensor in fp32."""

    def release(self) -> None:
        """Called between files: memory that can be had again may go."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """``dtype`` is a key of :data:`DTYPES`; ``progress`` gets bytes that are written and that will be."""

    base: Path
    change: Change
    out: Path
    dtype: str = "bf16"
    progress: Callable[[int, int], None] = field(default=lambda *_: None)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """Where the model is, whether it was made now, the digest of its content, and its size."""

    path: Path
    made: bool
    digest: str
    size: int


def merge(job: Job) -> Merged:
    """Make ``job.out``, or find that it is there already.

    Raises:
        OutputRefused: it can't be made there.
        RuntimeFailure: the base is no whole HunYuan checkpoint, or the change isn't one of it; ``SpaceInsufficient``
            before anything is written; ``SaveFailed``.

    """
    config = check_base(job.base)
    reader = Reader(job.base, config)
    check_change(job, reader)
    if (done := _finished(job)) is not None:
        shutil.rmtree(partial_of(job.out), ignore_errors=True)
        return done
    with saving(job.out), workplace(job.out, fingerprint_of(job)) as partial:
        files = {file: output_header(file, job.dtype) for file in reader.files}
        size = sum(entry.size for header in files.values() for entry in header.values())
        needed, free = missing_bytes(partial, job.base, size)
        if needed > free:
            raise RuntimeFailure(
                Cause.SpaceInsufficient,
                f"{job.out.parent} has {free / 1e9:.2f} GB free; the merged model needs {needed / 1e9:.2f} GB",
            )
        model = model_in(partial)
        hashes = Writer(job, reader, size).write(files, model)
        if len(hashes) > 1 or (job.base / KINDS[0][1]).exists():
            write_index(hashes, model)
        copy_others(job.base, model)
        write_json(model / "config.json", changed_config(read_json(job.base / "config.json"), job.dtype))
        digest = digest_of(model, hashes)
        write_json(model / REPORT, {"made_of": made_of(job), "dtype": job.dtype, "digest": digest, "bytes": size})
        publish(partial, job.out)
    return Merged(path=job.out, made=True, digest=digest, size=size)


def check_base(base: Path) -> HunYuanConfig:
    check_folder(base)
    if check_config(base):
        raise RuntimeFailure(Cause.ModelUnsupported, f"{base} is quantised: merge into the model of which it was made")
    check_weights(base)
    check_architecture(base)
    config: HunYuanConfig = HunYuanConfig.from_pretrained(base)
    return config


def check_change(job: Job, reader: Reader) -> None:
    """Every tensor that changes is one of the base's, and of its shape."""
    for name, shape in job.change.shapes.items():
        entry = reader.entries.get(name)
        if entry is None or entry.shape != tuple(shape):
            has = f"has it as {list(entry.shape)}" if entry else "has none"
            raise invalid(job.base, f"isn't what was trained: {name} is {list(shape)}, the base {has}")
    if not job.change.shapes:
        raise invalid(job.base, "would stay as it is: nothing was trained")


def made_of(job: Job) -> str:
    """Hash of what the result depends on, wherever the files lie: of the base's weights names and sizes count."""
    sizes = [(path.name, path.stat().st_size) for path in weight_files(job.base)[0]]
    words = [VERSION, job.dtype, job.change.made_of, file_hash(job.base / "config.json"), sizes]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def fingerprint_of(job: Job) -> str:
    """Stricter, since half a result is taken up: the base's files may not have been touched."""
    times = [path.stat().st_mtime_ns for path in weight_files(job.base)[0]]
    return f"{made_of(job)} {times}"


def _finished(job: Job) -> Merged | None:
    if is_free(job.out):
        return None
    report = read_json(job.out / REPORT) if (job.out / REPORT).is_file() else {}
    if report.get("made_of") != made_of(job):
        what = "the result of another training, base or dtype" if report else "something else"
        raise OutputRefused(f"{job.out} holds {what}: give an empty or a new folder")
    return Merged(path=job.out, made=False, digest=report["digest"], size=report["bytes"])


def output_name(file: Path) -> str:
    return file.with_suffix(".safetensors").name.replace("pytorch_model", "model")


def output_header(file: Path, dtype: str) -> dict[str, Entry]:
    return {name: Entry(stored_dtype(name, entry, dtype), entry.shape) for name, entry in read_header(file).items()}


def stored_dtype(name: str, entry: Entry, dtype: str) -> str:
    """The router stays in fp32, in which every loader wants it: bf16 flips the choice of expert."""
    if name.endswith(_ROUTER):
        return "F32"
    if name.endswith("rotary_emb.inv_freq") or not STORED_DTYPES[entry.dtype].is_floating_point:
        return entry.dtype
    return NAMES[DTYPES[dtype]]


def changed_config(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    key = "torch_dtype" if "torch_dtype" in config else "dtype"
    return config | {key: str(DTYPES[dtype]).removeprefix("torch.")}


class Writer:
    """Weight files of the base's layout."""

    def __init__(self, job: Job, reader: Reader, total: int) -> None:
        self._job = job
        self._reader = reader
        self._total = total
        self._done = 0

    def write(self, files: Mapping[Path, Mapping[str, Entry]], folder: Path) -> dict[str, str]:
        """Write what isn't there yet; returns the files' hashes by name."""
        hashes = {}
        for file, header in files.items():
            path = folder / output_name(file)
            if is_whole(path):
                hashes[path.name] = file_hash(path)
                self._tell(sum(entry.size for entry in header.values()))
            else:
                hashes[path.name] = write_tensors(path, header, self._source_of(header))
            self._job.change.release()
        return hashes

    def _source_of(self, header: Mapping[str, Entry]) -> Callable[[str], Tensor]:
        def get(stored: str) -> Tensor:
            entry = header[stored]
            parts = [self._tensor(name) for name in self._parts(stored, entry)]
            tensor = fused(stored, parts, self._reader.config).to(STORED_DTYPES[entry.dtype])
            if entry.dtype == "F16" and not tensor.isfinite().all():
                raise RuntimeFailure(Cause.ConfigInvalid, f"{stored} has numbers beyond fp16: merge in bf16")
            self._tell(entry.size)
            return tensor

        return get

    def _parts(self, stored: str, entry: Entry) -> list[str]:
        whole = torch.empty(entry.shape, device="meta")
        return [name for name, _ in unfused([(stored, whole)], self._reader.config)]

    def _tensor(self, name: str) -> Tensor:
        if name == _HEAD and self._reader.config.tie_word_embeddings:
            name = _EMBEDDING  # a copy that old checkpoints hold
        base = self._reader.get(name)
        return self._job.change.apply(name, base) if name in self._job.change.shapes else base

    def _tell(self, size: int) -> None:
        self._done += size
        self._job.progress(self._done, self._total)
