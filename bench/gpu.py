#!/usr/bin/env python3
"""What one GPU says about Hunyuan-Large: ``python bench/gpu.py [--json]``; bench/gpu.sh runs the tests before.

Engines of a few layers of real size (slices.py), one after the other, each in a process of its own (gpu_engine.py):

- decode and prefill in BF16, int8 and FP8, with CUDA graphs and eagerly as the published scripts run, at batch 1, 4 and
  8, each beside the planner's roofline, with the share of it that is reached, and what that share means for 64 layers;
- tokens in a GiB of KV cache, with layers that share keys and values and without;
- how far an FP8 cache moves what the model says, against a bound.

An engine that fails is told and the others go on; the exit code is then 1, as it is when a bound is broken.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import click
from hunyuan_operator.api.architecture import Architecture
from hunyuan_operator.plan.roofline import GPUS
from slices import (
    REAL_LOAD,
    TINY,
    TINY_LOAD,
    Agreement,
    Bound,
    Load,
    Speed,
    agreement,
    bound,
    demand_of,
    gpu_of,
    layers_on,
    slice_of,
)

from hunyuan_runtime.config import Quantization

WHAT = """\
bench/gpu.sh shows, on one H100 or H200 in about ten minutes:
- the tests marked gpu: the tiny model's answers in int8, in FP8 and with CUDA graphs; what `hunyuan quantize` writes;
  an all-reduce by NCCL
- decode and prefill of a few layers of Hunyuan-Large's real size in BF16, int8 and FP8, with and without CUDA graphs,
  at batch 1, 4 and 8, each beside the planner's roofline, and what that means for 64 layers
- tokens in a GiB of KV cache, with layers that share keys and values and without: 2.00 times as many
- an FP8 cache against one in BF16: {top_1:.0%} of the likeliest tokens stay at least, and log-probabilities move by
  {moved} on average at most"""
ENGINE_TIMEOUT = 300
ONLINE = {"int8": "int8_per_channel_weight_only", "fp8": "fp8"}
EAGER = {"enforce_eager": True}
GRAPHS = {"compilation_config": {"cudagraph_capture_sizes": [1, 2, 4, 8]}}
CPU_ENVIRONMENT = {
    "HUNYUAN_DEVICE": "cpu",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One engine."""

    name: str
    architecture: Architecture
    quantization: Quantization = "bf16"
    options: dict[str, Any] = field(default_factory=lambda: EAGER)
    speeds: bool = False
    compared: bool = False


@dataclass(frozen=True, kw_only=True)
class Device:
    name: str
    gpu: str
    """The planner's name for it."""
    memory: int
    is_cpu: bool = False


class Unable(click.ClickException):
    """This machine, or what is installed on it, can't run the bench."""

    exit_code = 2

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}. Nothing was run.")


def device(kind: str) -> Device:
    """What torch finds; a CPU stands for an H100 of 80 GB.

    Raises:
        Unable: there is no GPU, or the engine here could not use it, or the planner doesn't know it.

    """
    if kind == "cpu":
        return Device(name="CPU, as if it were an H100", gpu="h100", memory=80 * 10**9, is_cpu=True)
    import torch  # noqa: PLC0415 - slow, and help needs none

    if not torch.cuda.is_available():
        raise Unable("torch finds no GPU on this machine")
    if any(found.name == "vllm-cpu" for found in distributions()):
        raise Unable("vLLM is here for CPUs only; bench/gpu.sh says how to get the one for CUDA")
    properties = torch.cuda.get_device_properties(0)
    try:
        return Device(name=properties.name, gpu=gpu_of(properties.name), memory=properties.total_memory)
    except ValueError as error:
        raise Unable(str(error)) from error


def trials(on: Device) -> list[Trial]:
    if on.is_cpu:  # which has kernels for neither int8 nor FP8, and no graphs
        plain = TINY.model_copy(update={"use_cla": False})
        return [
            Trial(name="bf16 eager", architecture=TINY, speeds=True, compared=True),
            Trial(name="bf16, FP8 cache", architecture=TINY, compared=True),
            Trial(name="bf16, nothing shared", architecture=plain),
        ]
    bf16 = layers_on("bf16", on.memory)
    quantizations: tuple[Quantization, ...] = ("bf16", "int8", "fp8")
    return [
        *(
            Trial(
                name=f"{quantization} {kind}",
                architecture=slice_of(layers_on(quantization, on.memory)),
                quantization=quantization,
                options=options | ({"quantization": ONLINE[quantization]} if quantization in ONLINE else {}),
                speeds=True,
                compared=(quantization, kind) == ("bf16", "eager"),
            )
            for quantization in quantizations
            for kind, options in (("graphs", GRAPHS), ("eager", EAGER))
        ),
        Trial(
            name="bf16, FP8 cache",
            architecture=slice_of(bf16),
            options=EAGER | {"kv_cache_dtype": "fp8"},
            compared=True,
        ),
        Trial(name="bf16, nothing shared", architecture=slice_of(bf16, shared=False)),
    ]


def run(trial: Trial, load: Load, on: Device, folder: Path) -> dict[str, Any]:
    """What the engine told, or ``failure``."""
    model = folder / trial.name.replace(" ", "-")
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config_of(trial.architecture, load)))
    asked, told, log = model / "asked.json", model / "told.json", model / "log"
    options = {"speeds": trial.speeds, "compared": trial.compared, "options": trial.options}
    asked.write_text(json.dumps({"model": str(model), "load": asdict(load), **options}))
    env = os.environ | ENVIRONMENT | (CPU_ENVIRONMENT if on.is_cpu else {})
    command: list[str | Path] = [sys.executable, Path(__file__).with_name("gpu_engine.py"), asked, told]
    try:
        with log.open("wb") as output:
            subprocess.run(command, env=env, stdout=output, stderr=output, timeout=ENGINE_TIMEOUT, check=True)
    except subprocess.SubprocessError as error:
        return {"failure": f"{error}\n{log.read_text(errors='replace')[-3000:]}"}
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def config_of(architecture: Architecture, load: Load) -> dict[str, Any]:
    """Of a checkpoint of this shape, with everything else as published."""
    return {
        "architectures": ["HunYuanForCausalLM"],
        "model_type": "hunyuan",
        "torch_dtype": "bfloat16",
        "max_position_embeddings": max(131072, load.max_model_len),
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.02,
        **architecture.model_dump(exclude_none=True),
    }


@dataclass(frozen=True, kw_only=True)
class Result:
    device: Device
    told: dict[str, dict[str, Any]]
    """By the trials' names."""
    bounds: dict[str, list[Bound]]
    kv_tokens_per_gib: dict[str, float]
    kv_ratio: float | None = None
    fp8_cache: Agreement | None = None

    @property
    def complaints(self) -> Iterator[str]:
        for name, told in self.told.items():
            if "failure" in told:
                yield f"{name}: {told['failure']}"
        if self.kv_ratio is not None and abs(self.kv_ratio - 2) > 0.02:
            yield f"sharing keys and values makes room for {self.kv_ratio:.2f} times as many tokens, not 2.00"
        if self.fp8_cache is not None and not self.fp8_cache.holds:
            yield f"an FP8 cache moves more than the bound allows: {self.fp8_cache}"


def judge(asked: Sequence[Trial], told: dict[str, dict[str, Any]], load: Load, on: Device) -> Result:
    bounds = {
        trial.name: [
            bound(Speed(**each), demand_of(trial.architecture, trial.quantization, load, on.memory), load, GPUS[on.gpu])
            for each in told[trial.name]["speeds"]
        ]
        for trial in asked
        if trial.speeds and "speeds" in told[trial.name]
    }
    gibibytes = load.cache_bytes / 2**30
    tokens = {name: each["cache_tokens"] / gibibytes for name, each in told.items() if "cache_tokens" in each}
    shared, alone = tokens.get("bf16 eager"), tokens.get("bf16, nothing shared")
    one, other = told["bf16 eager"], told["bf16, FP8 cache"]
    return Result(
        device=on,
        told={
            name: {key: each[key] for key in each if key not in ("likeliest", "logprobs")}
            for name, each in told.items()
        },
        bounds=bounds,
        kv_tokens_per_gib=tokens,
        kv_ratio=shared / alone if shared and alone else None,
        fp8_cache=agreement(one, other) if "likeliest" in one and "likeliest" in other else None,
    )


def table(result: Result) -> str:
    head = (
        f"{'tokens/s':<14}{'batch':>6}{'decode':>10}{'roofline':>10}{'ratio':>8}{'prefill':>11}{'roofline':>11}{'ratio':>8}"
        f"{'64 layers':>12} on GPUs"
    )
    rows = [
        f"{name:<14}{speed['batch']:>6}{speed['decode']:>10,.0f}{each.decode_roofline:>10,.0f}{each.decode_ratio:>8.2f}"
        f"{speed['prefill']:>11,.0f}{each.prefill_roofline:>11,.0f}{each.prefill_ratio:>8.2f}"
        f"{each.whole_decode:>12,.0f} {each.whole_gpus:>7}"
        for name, bounds in result.bounds.items()
        for speed, each in zip(result.told[name]["speeds"], bounds, strict=True)
    ]
    lines = [
        f"{result.device.name} ({result.device.memory / 1e9:.0f} GB)",
        head,
        *rows,
        "64 layers: decode of the whole model at the same share of its own roofline; talk between ranks costs more.",
    ]
    if result.kv_ratio is not None:
        lines.append(f"KV cache: {result.kv_ratio:.2f} times as many tokens in a GiB as without sharing")
    if result.fp8_cache is not None:
        top_1, moved = result.fp8_cache.top_1, result.fp8_cache.moved
        which = "BF16 cache against itself, for want of an FP8 one" if result.device.is_cpu else "FP8 cache"
        lines.append(f"{which}: {top_1:.1%} of the likeliest tokens stay, log-probabilities move by {moved:.3f}")
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.option("--device", "kind", default="cuda", show_default=True, type=click.Choice(["cuda", "cpu"]))
@click.option("--check", is_flag=True, help="Only say what would be shown, and whether this machine can.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, kind: str, check: bool, as_json: bool) -> None:
    if check:
        click.echo(WHAT.format(top_1=Agreement.LEAST_TOP_1, moved=Agreement.MOST_MOVED))
    on = device(kind)
    if check:
        click.echo(f"This machine can: {on.name}, {on.memory / 1e9:.0f} GB")
        return
    load = TINY_LOAD if on.is_cpu else REAL_LOAD
    try:
        asked = trials(on)
    except ValueError as error:
        raise Unable(str(error)) from error
    told: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="hy-") as scratch:
        for trial in asked:
            click.echo(f"{trial.name}: {trial.architecture.num_hidden_layers} layers", err=True)
            told[trial.name] = run(trial, load, on, Path(scratch))
    result = judge(asked, told, load, on)
    click.echo(json.dumps(asdict(result)) if as_json else table(result))
    complaints = list(result.complaints)
    for complaint in complaints:
        click.echo(complaint, err=True)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
