"""AdamW, who gets which rate, and the rate over the steps.

Rates and decay are set before every step as functions of the step alone, so they are no state: a resumed run can't have
others. (DeepSpeed's universal checkpoints give every group the first one's settings, which this mends as well.)
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hunyuan_runtime.train_config import TrainingConfig

EXPERT = ".mlp.experts."
"""In the names of the routed experts' parameters, an adapter's too."""
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Group:
    """Parameters with one rate and one decay."""

    scale: float
    decay: float
    parameters: tuple[nn.Parameter, ...]


def groups_of(named: Iterable[tuple[str, nn.Parameter]], training: TrainingConfig) -> list[Group]:
    """What is trained. Routed experts have their own rate; gains and biases (one dimension) don't decay."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            scale = training.expert_learning_rate_scale if EXPERT in name else 1.0
            decay = training.weight_decay if dimensions(parameter) > 1 else 0.0
            found.setdefault((scale, decay), []).append(parameter)
    return [Group(scale, decay, tuple(parameters)) for (scale, decay), parameters in found.items()]


def dimensions(parameter: nn.Parameter) -> int:
    """ZeRO-3 leaves an empty tensor where the parameter was, and the shape beside it."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def learning_rate(step: int, training: TrainingConfig) -> float:
    """Of the step that comes after ``step`` others: linear warm-up, then a cosine that ends at the minimum."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    span = max(1, training.max_steps - training.warmup_steps - 1)
    part = min(1.0, (step - training.warmup_steps) / span)
    lowest = min(training.min_learning_rate, training.learning_rate)
    return lowest + (training.learning_rate - lowest) * (1 + math.cos(math.pi * part)) / 2


def set_rates(param_groups: Sequence[dict[str, Any]], groups: Sequence[Group], rate: float) -> None:
    for settings, group in zip(param_groups, groups, strict=True):
        settings["lr"] = rate * group.scale
        settings["weight_decay"] = group.decay


def make_optimizer(groups: Sequence[Group], rate: float, *, offloaded: bool) -> torch.optim.Optimizer:
    """torch's AdamW, on GPUs its fused form; where the optimizer lives on a GPU node's CPU, DeepSpeed's faster one."""
    param_groups = [{"params": list(group.parameters), "weight_decay": group.decay} for group in groups]
    if offloaded and torch.cuda.is_available():
        from deepspeed.ops.adam import DeepSpeedCPUAdam  # noqa: PLC0415 - compiled at first use where it isn't built

        optimizer: torch.optim.Optimizer = DeepSpeedCPUAdam(param_groups, lr=rate, betas=BETAS, eps=EPSILON)
        return optimizer
    fused = torch.cuda.is_available()
    return torch.optim.AdamW(param_groups, lr=rate, betas=BETAS, eps=EPSILON, fused=fused)
