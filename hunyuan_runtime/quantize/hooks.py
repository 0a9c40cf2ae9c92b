"""Watch a layer's linear modules, and make them compute as they will in FP8."""

from typing import Any

from torch import Tensor, nn

from hunyuan_runtime.quantize.formats import input_group, weight_group
from hunyuan_runtime.quantize.numbers import largest, rounded


def record_inputs(linears: dict[str, nn.Linear]) -> dict[str, float]:
    """By module, the largest input so far; modules that are never called stay out."""
    seen: dict[str, float] = {}

    def watch(name: str, linear: nn.Linear) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = max(seen.get(name, 0.0), largest(inputs[0]))

        linear.register_forward_pre_hook(hook)

    for name, linear in linears.items():
        watch(name, linear)
    return seen


def round_to_fp8(
    linears: dict[str, nn.Linear], weights: dict[str, float], inputs: dict[str, float], v_scale: float | None
) -> float:
    """Weights are rounded now, inputs and values whenever they come by.

    Returns:
        The largest error of a weight, as a part of the largest weight of its tensor.

    """
    worst = 0.0
    for name, linear in linears.items():
        exact = linear.weight.float()
        eight_bits = rounded(exact, weights[weight_group(name)])
        worst = max(worst, largest(eight_bits - exact) / (largest(exact) or 1.0))
        linear.weight = nn.Parameter(eight_bits.to(linear.weight.dtype), requires_grad=False)
        _round_input(linear, inputs[input_group(name)])
    if v_scale is not None:
        _round_output(linears["self_attn.v_proj"], v_scale)
    return worst


def _round_input(linear: nn.Linear, scale: float) -> None:
    linear.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0], scale), *inputs[1:]))


def _round_output(linear: nn.Linear, scale: float) -> None:
    def hook(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        return rounded(out, scale)

    linear.register_forward_hook(hook)
