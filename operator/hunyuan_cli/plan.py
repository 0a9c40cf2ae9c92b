"""``hunyuan plan``: what the operator would do with a HunyuanDeployment, without a cluster."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import click
from hunyuan_operator.api.architecture import Architecture
from hunyuan_operator.api.deployment import HunyuanDeployment, HunyuanDeploymentSpec
from hunyuan_operator.errors import InvalidSpec, Unplannable
from hunyuan_operator.plan.memory import Demand
from hunyuan_operator.plan.roofline import GPUS, decode_tokens_per_second, prefill_tokens_per_second
from hunyuan_operator.plan.serving import ServingPlan, plan_serving
from hunyuan_operator.plan.weights import active_parameters, kv_bytes_per_token, parameters
from pydantic import ValidationError
from pydantic.alias_generators import to_snake

CONTEXT = 2048
"""Tokens of prompt for the roofline, as in the model card's tables."""


class BadInput(Exception):
    """The message says which file, and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Tokens a second at best; :mod:`hunyuan_operator.plan.roofline` has the formulas."""

    gpu: str
    context: int
    streams: int
    decode_one_stream: float
    decode_all_streams: float
    prefill: float


def read_deployment(file: TextIO) -> HunyuanDeployment:
    """The file's HunyuanDeployment, whatever else it holds.

    Raises:
        BadInput: it holds none, or several, or one that can't be understood.

    """
    try:
        import yaml  # noqa: PLC0415 - only this command needs it
    except ImportError as error:
        raise BadInput(f"{error}. This command needs the extra 'operator'") from error
    try:
        documents = [one for one in yaml.safe_load_all(file) if isinstance(one, dict)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{file.name}: not YAML: {' '.join(str(error).split())}") from error
    found = [one for one in documents if one.get("kind") == "HunyuanDeployment"]
    if len(found) != 1:
        raise BadInput(f"{file.name}: holds {len(found)} resources of kind HunyuanDeployment, must be one")
    try:
        deployment = HunyuanDeployment.parse(found[0])
    except InvalidSpec as error:
        raise BadInput(f"{file.name}: {error}") from error
    if unknown := list(_unknown(found[0]["spec"], deployment.spec.model_dump(by_alias=True), "spec")):
        raise BadInput(f"{file.name}: unknown field {', '.join(unknown)}")
    return deployment


def _unknown(written: Any, known: Any, path: str) -> Iterator[str]:
    """Fields that the API server would refuse, since a misspelt one means nothing."""
    if isinstance(written, dict) and isinstance(known, dict):
        for name, value in written.items():
            if name in known:
                yield from _unknown(value, known[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"


def read_architecture(path: Path) -> Architecture:
    """From a checkpoint's config.json, or the folder that holds it.

    Raises:
        BadInput: it is not there, or not that of such a model.

    """
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text())
        block = (config.get("quantization_config") or {}).get("weight_block_size") or [None]
        return Architecture.model_validate(config | {"weight_block_size": block[0]})
    except ValidationError as error:
        problems = (f"{to_snake('.'.join(map(str, one['loc'])))}: {one['msg']}" for one in error.errors())
        raise BadInput(f"{path}: {'; '.join(problems)}") from error
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"{path}: not a config.json: {error}") from error


def with_architecture(spec: HunyuanDeploymentSpec, architecture: Architecture) -> HunyuanDeploymentSpec:
    model = spec.model.model_copy(update={"architecture": architecture})
    return spec.model_copy(update={"model": model})


def roofline(demand: Demand, plan: ServingPlan, gpu: str) -> Roofline:
    context = min(CONTEXT, demand.max_model_len)
    streams = min(demand.max_num_seqs, plan.memory.kv_tokens // context)

    def decode(streams: int) -> float:
        return decode_tokens_per_second(demand, plan.topology, GPUS[gpu], streams=streams, context=context)

    return Roofline(
        gpu=gpu,
        context=context,
        streams=streams,
        decode_one_stream=round(decode(1), 1),
        decode_all_streams=round(decode(streams), 1),
        prefill=round(prefill_tokens_per_second(demand, plan.topology, GPUS[gpu], prompt=context), 1),
    )


def as_json(demand: Demand, plan: ServingPlan, speed: Roofline) -> dict[str, Any]:
    memory = plan.memory
    return {
        "fits": True,
        "quantization": demand.quantization,
        "topology": asdict(plan.topology) | {"gpus": plan.topology.ranks},
        "model": {
            "parameters": parameters(demand.architecture),
            "active_parameters": active_parameters(demand.architecture),
            "kv_bytes_per_token": kv_bytes_per_token(demand.architecture, demand.kv_element),
        },
        "gpu": asdict(memory) | {"kv_tokens": memory.kv_tokens},
        "max_concurrency": round(memory.max_concurrency, 2),
        "roofline": asdict(speed),
    }


def as_text(name: str, demand: Demand, plan: ServingPlan, speed: Roofline) -> str:
    layout, memory, model = plan.topology, plan.memory, demand.architecture
    rows = [
        ("usable", memory.usable),
        ("weights", memory.weights),
        ("activations", memory.activations),
        ("runtime", memory.reserve),
        ("KV cache", memory.kv_cache),
    ]
    return "\n".join(
        [
            f"{name}: fits. {demand.quantization} on {layout.ranks} GPUs, {layout.nodes} x {layout.gpus_per_node}: "
            f"tensor {layout.tensor_parallel} x pipeline {layout.pipeline_parallel}",
            f"Model: {parameters(model) / 1e9:.2f} billion parameters, {active_parameters(model) / 1e9:.2f} active; "
            f"{kv_bytes_per_token(model, demand.kv_element):,} bytes of KV cache a token",
            "The fullest GPU, in GB:",
            *(f"  {title:<12}{count / 1e9:>8.1f}" for title, count in rows),
            f"KV cache: {memory.kv_tokens:,} tokens at {memory.kv_bytes_per_token:,} bytes each on that GPU, "
            f"{memory.max_concurrency:.1f} requests of {demand.max_model_len:,} tokens",
            f"At best on {speed.gpu}, at {speed.context:,} tokens of context, in tokens/s: decode "
            f"{speed.decode_one_stream:,.0f} in one stream, {speed.decode_all_streams:,.0f} in {speed.streams}; "
            f"prefill {speed.prefill:,.0f}",
        ]
    )


@click.command("plan")
@click.option("-f", "--file", required=True, type=click.File(encoding="utf-8"), help="HunyuanDeployment; - is stdin.")
@click.option(
    "--config",
    type=click.Path(exists=True, path_type=Path),
    help="The checkpoint's config.json or its folder, instead of spec.model.architecture.",
)
@click.option(
    "--gpu", type=click.Choice(sorted(GPUS)), default="h20", show_default=True, help="What tokens/s are told for."
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON object.")
def plan(file: TextIO, config: Path | None, gpu: str, *, json_: bool) -> None:
    """Say how a HunyuanDeployment would be laid out, and whether it fits its GPUs.

    Exit code 0: it fits. 1: it doesn't, and stderr has the numbers and the smallest change that does. 2: it can't be
    read.
    """
    try:
        deployment = read_deployment(file)
        spec = with_architecture(deployment.spec, read_architecture(config)) if config else deployment.spec
    except BadInput as error:
        click.echo(f"hunyuan: {error}", err=True)
        sys.exit(2)
    try:
        found = plan_serving(spec)
    except Unplannable as error:
        if json_:
            click.echo(json.dumps({"fits": False, "reason": error.reason.value, "message": str(error)}))
        click.echo(f"hunyuan: {error.reason.value}: {error}", err=True)
        sys.exit(1)
    demand = Demand.of(spec)
    speed = roofline(demand, found, gpu)
    name = str(deployment.metadata.get("name", file.name))
    click.echo(json.dumps(as_json(demand, found, speed)) if json_ else as_text(name, demand, found, speed))
