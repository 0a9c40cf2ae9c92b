"""Which layers a pipeline stage holds, and the rotary embedding as vLLM spells it. Pure: imports no vLLM."""

from typing import Any

from hunyuan_runtime.model.config import HunYuanConfig


def stage_layers(layers: int, group: int, stage: int, stages: int, partition: str | None = None) -> tuple[int, int]:
    """First layer of a stage and the one after its last. No stage splits a group that shares keys and values.

    Groups are dealt out evenly, those left over to the stages before the last, which has the output head.
    ``partition`` (vLLM's ``VLLM_PP_LAYER_PARTITION``, layers of each stage) is taken as it is or refused.

    Raises:
        ValueError: there are fewer groups than stages, or the partition doesn't fit.

    """
    groups = -(-layers // group)
    if groups < stages:
        raise ValueError(
            f"{layers} layers form {groups} groups that share keys and values, too few for {stages} pipeline stages"
        )
    if partition is None:
        each, left = divmod(groups, stages)
        sizes = [(each + (stages - 1 - left <= index < stages - 1)) * group for index in range(stages)]
    else:
        sizes = _sizes(partition, layers, group, stages)
    start = sum(sizes[:stage])
    return start, min(start + sizes[stage], layers)


def _sizes(partition: str, layers: int, group: int, stages: int) -> list[int]:
    sizes = [int(part) for part in partition.split(",")]
    if len(sizes) != stages or sum(sizes) != layers:
        raise ValueError(f"VLLM_PP_LAYER_PARTITION={partition} doesn't deal {layers} layers to {stages} stages")
    if any(sum(sizes[:stage]) % group for stage in range(stages)):
        raise ValueError(
            f"VLLM_PP_LAYER_PARTITION={partition} splits a group of {group} layers that share keys and values: "
            f"use multiples of {group}"
        )
    return sizes


def rope_parameters(config: HunYuanConfig) -> dict[str, Any]:
    """The same embedding as the reference: ``alpha`` decides whatever the type, and none means none.

    vLLM looks at ``alpha`` only where the type is dynamic, and there at its presence, not its value.
    """
    parameters = {"rope_type": "default", "rope_theta": 10000.0, **(config.rope_parameters or {})}
    if parameters.get("alpha"):
        return {"rope_type": "dynamic", "rope_theta": parameters["rope_theta"], "alpha": parameters["alpha"]}
    parameters.pop("alpha", None)
    return parameters
