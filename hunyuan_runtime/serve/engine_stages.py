"""Which layers a pipeline stage holds, and the rotary embedding as vLLM spells it."""

from collections.abc import Callable
from typing import Any

from torch import nn
from vllm import envs
from vllm.distributed import get_pp_group
from vllm.distributed.utils import get_pp_indices
from vllm.model_executor.models.utils import PPMissingLayer
from vllm.model_executor.offloader import get_offloader

from hunyuan_runtime.model import HunYuanConfig


def stage_layers(layers: int, group: int, stage: int, stages: int) -> tuple[int, int]:
    """First layer of a stage and the one after its last: vLLM's partition, made of groups instead of layers.

    ``VLLM_PP_LAYER_PARTITION`` still counts layers and is taken as it is, if it splits no group.

    Raises:
        ValueError: there are fewer groups than stages, or the partition asked for splits a group.

    """
    groups = -(-layers // group)
    if groups < stages:
        raise ValueError(
            f"{stages} pipeline stages need as many groups of layers that share keys and values; {layers} layers have "
            f"{groups}: use at most {groups} stages"
        )
    if envs.VLLM_PP_LAYER_PARTITION is None:
        start, end = get_pp_indices(groups, stage, stages)
        return start * group, min(end * group, layers)
    start, end = get_pp_indices(layers, stage, stages)
    if start % group or (end % group and end != layers):
        raise ValueError(
            f"VLLM_PP_LAYER_PARTITION={envs.VLLM_PP_LAYER_PARTITION} puts layers {start} to {end - 1} on stage {stage} "
            f"and splits a group of {group} layers that share keys and values; use multiples of {group}"
        )
    return start, end


def make_stage(
    layers: int, group: int, make_layer: Callable[[str], nn.Module], prefix: str
) -> tuple[int, int, nn.ModuleList]:
    """This rank's layers at their places in the whole model, with vLLM's placeholders for the others."""
    start, end = stage_layers(layers, group, get_pp_group().rank_in_group, get_pp_group().world_size)
    own = get_offloader().wrap_modules(make_layer(f"{prefix}.{index}") for index in range(start, end))
    before, after = ([PPMissingLayer() for _ in range(count)] for count in (start, layers - end))
    return start, end, nn.ModuleList([*before, *own, *after])


def rope_parameters(config: HunYuanConfig) -> dict[str, Any]:
    """The same embedding as the reference: ``alpha`` decides whatever the type, and none means none.

    vLLM looks at ``alpha`` only where the type is dynamic, and there at its presence, not its value.
    """
    parameters = {"rope_type": "default", "rope_theta": 10000.0, **(config.rope_parameters or {})}
    if parameters.get("alpha"):
        return {"rope_type": "dynamic", "rope_theta": parameters["rope_theta"], "alpha": parameters["alpha"]}
    parameters.pop("alpha", None)
    return parameters
