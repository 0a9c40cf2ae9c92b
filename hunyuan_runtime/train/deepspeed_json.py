"""TrainConfig → DeepSpeed's JSON. Pure.

What the spec says stands in the spec alone: a JSON of the user's own may repeat it or leave it ``"auto"``, but not
contradict it. Optimizer and schedule are not in the JSON at all, since DeepSpeed knows no minimum learning rate and no
rates by parameter; see :mod:`.optimizer`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.batches import Batch, batch_of
from hunyuan_runtime.train_config import TrainConfig

AUTO = "auto"
_SILENT = 2**31
"""``steps_per_print``: progress is told elsewhere."""


def deepspeed_json(
    config: TrainConfig, batch: Batch, hidden_size: int, own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """``own`` is the user's JSON, if any. ``hidden_size`` fills the bucket sizes that it leaves ``"auto"``.

    Raises:
        RuntimeFailure: ``ConfigInvalid`` with the key and both values.

    """
    if own is None:
        base: dict[str, Any] = {"zero_optimization": _zero(config)}
    else:
        _refuse_conflicts(config, own)
        base = {key: value for key, value in own.items() if key not in ("optimizer", "scheduler")}
        base["zero_optimization"] = _filled(own.get("zero_optimization", {}), hidden_size)
    whole = base | {
        "train_batch_size": batch.whole,
        "train_micro_batch_size_per_gpu": batch.micro,
        "gradient_accumulation_steps": batch.accumulation,
        "gradient_clipping": config.training.max_grad_norm,
        "bf16": {"enabled": config.training.precision == "bf16"},
        "fp16": {"enabled": False},
        "steps_per_print": _SILENT,
        "zero_force_ds_cpu_optimizer": False,  # which optimizer suits the device is for .optimizer to choose
    }
    for path, value in _leaves(whole):
        if value == AUTO:
            raise _invalid(f'{path} is "auto", which nothing here fills in; give it a value')
    return whole


def offloads_optimizer(json: Mapping[str, Any]) -> bool:
    device = json["zero_optimization"].get("offload_optimizer", {}).get("device", "none")
    return bool(device not in ("none", None))


def _zero(config: TrainConfig) -> dict[str, Any]:
    stage, offload = config.deepspeed.zero, config.deepspeed.offload
    if offload == "all" and stage != 3:
        raise _invalid(f"offload all moves parameters too, which needs ZeRO 3, not {stage}")
    zero: dict[str, Any] = {"stage": stage, "contiguous_gradients": True, "overlap_comm": True}
    if offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    return zero


def _refuse_conflicts(config: TrainConfig, own: Mapping[str, Any]) -> None:
    training, planned = config.training, batch_of(config)
    _same(
        own,
        {
            "train_batch_size": planned.whole,
            "train_micro_batch_size_per_gpu": planned.micro,
            "gradient_accumulation_steps": planned.accumulation,
            "gradient_clipping": training.max_grad_norm,
            "bf16.enabled": training.precision == "bf16",
            "fp16.enabled": False,
            "optimizer.type": "AdamW",
            "optimizer.params.lr": training.learning_rate,
            "optimizer.params.weight_decay": training.weight_decay,
            "optimizer.params.betas": [0.9, 0.999],
            "optimizer.params.eps": 1e-8,
            "optimizer.params.torch_adam": AUTO,
            "optimizer.params.adam_w_mode": True,
        },
    )
    if "scheduler" in own and set(_values(own["scheduler"].get("params", {}))) - {AUTO}:
        raise _invalid(
            f"scheduler is {own['scheduler'].get('type')} with values of its own, but the schedule is the spec's: "
            "warmupSteps, then a cosine from learningRate to minLearningRate. Leave it out"
        )
    stage = own.get("zero_optimization", {}).get("stage")
    if stage not in (2, 3):
        raise _invalid(f"zero_optimization.stage is {stage}; it must be 2 or 3")
    if own.get("checkpoint", {}).get("load_universal"):
        raise _invalid("checkpoint.load_universal is true; whether one is loaded depends on what is there")


def _same(own: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    """Every leaf that both have must be equal, and an optimizer can't have others."""
    for path, value in _leaves(own):
        section = path.partition(".")[0]
        if path in planned and value not in (AUTO, planned[path]) and planned[path] != AUTO:
            raise _invalid(f"{path} is {value}, but the spec's value is {planned[path]}")
        if section == "optimizer" and path not in planned:
            raise _invalid(f"{path} is {value}, which the optimizer here, AdamW, can't be given")


def _filled(zero: Mapping[str, Any], hidden_size: int) -> dict[str, Any]:
    """transformers' values for what it lets be ``"auto"``."""
    automatic = {
        "reduce_bucket_size": hidden_size * hidden_size,
        "stage3_prefetch_bucket_size": hidden_size * hidden_size * 9 // 10,
        "stage3_param_persistence_threshold": 10 * hidden_size,
        "stage3_gather_16bit_weights_on_model_save": False,
    }
    return {key: automatic.get(key, value) if value == AUTO else value for key, value in zero.items()}


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{path}{key}.")
        else:
            yield f"{path}{key}", inner


def _values(params: Mapping[str, Any]) -> list[str]:
    return [str(value) for _, value in _leaves(params)]


def _invalid(words: str) -> RuntimeFailure:
    return RuntimeFailure(Cause.ConfigInvalid, f"DeepSpeed's configuration: {words}")
