"""The whole of ``hunyuan quantize``: refuse early, calibrate, write, rename.

In the side folder (:mod:`hunyuan_runtime.checkpoint.output`) ``calibration.safetensors`` says how far the first pass
is. A rerun with the same source, prompts and format goes on; another one starts anew.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hunyuan_runtime.checkpoint.headers import weight_files
from hunyuan_runtime.checkpoint.output import (
    OutputRefused,
    copy_others,
    is_free,
    missing_bytes,
    model_in,
    other_files,
    partial_of,
    publish,
    workplace,
    write_index,
    write_json,
    write_whole,
)
from hunyuan_runtime.checkpoint.reader import Reader
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.quantize.calibration import LayerScales, Prompt, Runner
from hunyuan_runtime.quantize.formats import Format, quantization_config
from hunyuan_runtime.quantize.output import Shard, output_sizes, plan_shards, write_shards
from hunyuan_runtime.serve.architecture import check_architecture
from hunyuan_runtime.serve.checkpoint import check_config, check_folder, check_weights, read_json
from hunyuan_runtime.serve.engine_weights import expected_tensors
from hunyuan_runtime.termination import Cause, RuntimeFailure

REPORT = "quantization_report.json"
SHARD_BYTES = 4 << 30
VERSION = 1
"""Of what is written for the same input; part of the fingerprint."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """``prompts`` are token ids. ``progress`` gets a step's name, what is done and what there is to do."""

    source: Path
    out: Path
    prompts: list[list[int]]
    format: Format = Format.AUTOFP8
    shard_bytes: int = SHARD_BYTES
    progress: Callable[[str, int, int], None] = field(default=lambda *_: None)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Where the checkpoint is, whether it was made now, and its report."""

    path: Path
    made: bool
    report: dict[str, Any]


def quantize(job: Job) -> Summary:
    """Make ``job.out``, or find that it is there already.

    Raises:
        OutputRefused: it can't be done as asked.
        RuntimeFailure: the source is no whole HunYuan checkpoint; the message names file and tensor.
            ``SpaceInsufficient``.

    """
    config = check_source(job.source)
    check_prompts(job.prompts, config)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    fingerprint = fingerprint_of(job)
    if (done := _finished(job.out, fingerprint)) is not None:
        shutil.rmtree(partial_of(job.out), ignore_errors=True)
        return Summary(path=job.out, made=False, report=done)
    with workplace(job.out, fingerprint) as partial:
        reader = Reader(job.source, config)
        shards = plan_shards(output_sizes(reader, set(expected_tensors(config))), job.shard_bytes)
        check_space(job, partial, shards)
        runner = Runner(reader, config, "cuda" if torch.cuda.is_available() else "cpu")
        layers = calibrate(job, runner, partial / "calibration.safetensors")
        model = model_in(partial)
        total = sum(shard.size for shard in shards)
        write_shards(reader, shards, layers, model, lambda done: job.progress("write", done, total))
        report = report_of(job, fingerprint, layers)
        write_index([shard.name for shard in shards], model)
        copy_others(job.source, model)
        changed = {"quantization_config": quantization_config(job.format, config)}
        write_json(model / "config.json", read_json(job.source / "config.json") | changed)
        write_json(model / REPORT, report)
        publish(partial, job.out)
    return Summary(path=job.out, made=True, report=report)


def check_source(source: Path) -> HunYuanConfig:
    """The configuration of a checkpoint that can be quantised; raises what :func:`quantize` raises."""
    check_folder(source)
    if check_config(source):
        raise OutputRefused(f"{source} is quantised already: config.json has a quantization_config")
    check_weights(source)
    check_architecture(source)
    config: HunYuanConfig = HunYuanConfig.from_pretrained(source, attn_implementation="sdpa")
    return config


def check_prompts(prompts: list[list[int]], config: HunYuanConfig) -> None:
    if not any(prompts):
        raise OutputRefused("there are no prompts to calibrate with")
    if (largest := max(token for ids in prompts for token in ids)) >= config.vocab_size:
        raise OutputRefused(
            f"the prompts hold token {largest}, the model knows {config.vocab_size}: is the tokenizer another model's?"
        )


def fingerprint_of(job: Job) -> str:
    """Hash of all that the output depends on; the source's weights by name, size and time."""
    files = [*weight_files(job.source)[0], job.source / "config.json", *other_files(job.source)]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    words = [VERSION, job.format, job.shard_bytes, job.prompts, stats]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _finished(out: Path, fingerprint: str) -> dict[str, Any] | None:
    """The report of ``out``, where it is this job's.

    Raises:
        OutputRefused: ``out`` holds something else, or can't be renamed to.

    """
    if is_free(out):
        return None
    report = read_json(out / REPORT) if (out / REPORT).is_file() else {}
    if report.get("fingerprint") != fingerprint:
        what = "a checkpoint of another source, format or set of prompts" if report else "something else"
        raise OutputRefused(f"{out} holds {what}: give an empty or a new folder")
    return report


def check_space(job: Job, partial: Path, shards: list[Shard]) -> None:
    """Refuse before the first byte what wouldn't fit."""
    needed, free = missing_bytes(partial, job.source, sum(shard.size for shard in shards))
    if needed > free:
        raise RuntimeFailure(
            Cause.SpaceInsufficient,
            f"{job.out.parent} has {free / 1e9:.1f} GB free; the checkpoint needs {needed / 1e9:.1f} GB",
        )


def calibrate(job: Job, runner: Runner, state: Path) -> list[LayerScales]:
    """All layers' scales; what an earlier run measured isn't measured again."""
    count = runner.config.num_hidden_layers
    layers, prompts = load_state(state, runner.device) if state.exists() else ([], [])
    prompts = prompts or runner.embed([ids for ids in job.prompts if ids])
    for index in range(len(layers), count):
        job.progress("calibrate", index, count)
        scales, prompts = runner.calibrate(index, prompts)
        layers.append(scales)
        save_state(state, layers, prompts)
    job.progress("calibrate", count, count)
    return layers


def save_state(path: Path, layers: list[LayerScales], prompts: list[Prompt]) -> None:
    tensors = {
        f"{number:06}.{part}": tensor.contiguous()
        for number, prompt in enumerate(prompts)
        for part, tensor in vars(prompt).items()
        if tensor is not None
    }
    metadata = {"layers": json.dumps([asdict(layer) for layer in layers])}
    write_whole(path, lambda at: save_file(tensors, at, metadata=metadata))


def load_state(path: Path, device: str) -> tuple[list[LayerScales], list[Prompt]]:
    with safe_open(path, framework="pt", device=device) as file:
        layers = [LayerScales(**layer) for layer in json.loads(file.metadata()["layers"])]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    numbers = sorted({name.partition(".")[0] for name in tensors})
    return layers, [
        Prompt(tensors[f"{number}.x"], tensors.get(f"{number}.key"), tensors.get(f"{number}.value"))
        for number in numbers
    ]


def report_of(job: Job, fingerprint: str, layers: list[LayerScales]) -> dict[str, Any]:
    worst = max(range(len(layers)), key=lambda index: layers[index].output_error)
    return {
        "fingerprint": fingerprint,
        "format": job.format,
        "prompts": len([ids for ids in job.prompts if ids]),
        "tokens": sum(map(len, job.prompts)),
        "worst_layer": worst,
        "worst_output_error": layers[worst].output_error,
        "max_weight_error": max(layer.weight_error for layer in layers),
        "layers": [asdict(layer) for layer in layers],
    }
