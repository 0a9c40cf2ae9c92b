"""Measure the scales: all prompts through one decoder layer, then through the next.

One layer is in memory at a time, with the prompts' hidden states and the keys and values of its group. Each layer runs
twice: as it is, to measure what comes into every linear layer and what goes into the cache; then with weights, inputs
and values rounded to FP8, to learn the error. The next layer reads the unrounded output, so an error in the report is
that layer's own.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hunyuan_runtime.checkpoint.reader import Reader
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.model.modeling import HunYuanDecoderLayer, HunYuanRotaryEmbedding
from hunyuan_runtime.quantize.formats import input_group, weight_group
from hunyuan_runtime.quantize.hooks import record_inputs, round_to_fp8
from hunyuan_runtime.quantize.numbers import largest, scale_of


@dataclass(frozen=True, kw_only=True)
class LayerScales:
    """Of one layer, by the groups of :mod:`formats` (names within the layer), and the error that they cause."""

    weights: dict[str, float]
    inputs: dict[str, float]
    k_scale: float | None
    """None, like ``v_scale``, in a layer that owns no keys and values."""
    v_scale: float | None
    unseen_experts: list[int]
    """To which no token of the prompts went. Their inputs are taken to be like those of the other experts."""
    weight_error: float = 0.0
    """Largest rounding error of a weight, as a part of the largest weight of its tensor."""
    output_error: float = 0.0
    """‖f_fp8(x) - f(x)‖ / ‖f(x) - x‖ over all tokens: the error as a part of what the layer adds to its input."""


@dataclass
class Prompt:
    """Where a prompt is between two layers."""

    x: Tensor
    key: Tensor | None = None
    value: Tensor | None = None


@dataclass(frozen=True)
class Runner:
    """Loads and runs layers of one checkpoint."""

    reader: Reader
    config: HunYuanConfig
    device: str

    def embed(self, prompts: list[list[int]]) -> list[Prompt]:
        table = self.reader.get("model.embed_tokens.weight")
        dtype = self.reader.get("model.layers.0.self_attn.q_proj.weight").dtype
        return [Prompt(table[torch.tensor(ids)][None].to(self.device, dtype)) for ids in prompts]

    def load(self, index: int) -> HunYuanDecoderLayer:
        with torch.device("meta"):
            layer = HunYuanDecoderLayer(self.config, index)
        at = f"model.layers.{index}."
        dtype = self.reader.get(f"{at}self_attn.q_proj.weight").dtype
        weights = {
            name: self.reader.get(at + name).to(self.device, torch.float32 if ".wg." in name else dtype)
            for name in layer.state_dict()
        }
        layer.load_state_dict(weights, assign=True)
        layer.eval()
        return layer

    @torch.inference_mode()
    def calibrate(self, index: int, prompts: list[Prompt]) -> tuple[LayerScales, list[Prompt]]:
        """The layer's scales, and the prompts behind it."""
        layer = self.load(index)
        linears = linear_layers(layer)
        inputs = record_inputs(linears)
        after = [self._forward(layer, prompt) for prompt in prompts]
        scales = self._scales(layer, linears, dict(inputs), after)
        weight_error = round_to_fp8(linears, scales.weights, scales.inputs, scales.v_scale)
        errors = added = 0.0
        for prompt, exact in zip(prompts, after, strict=True):
            out = self._forward(layer, prompt).x
            errors += (out.double() - exact.x.double()).square().sum().item()
            added += (exact.x.double() - prompt.x.double()).square().sum().item()
        output_error = (errors / added) ** 0.5 if added else 0.0
        return replace(scales, output_error=output_error, weight_error=weight_error), after

    def _forward(self, layer: HunYuanDecoderLayer, prompt: Prompt) -> Prompt:
        positions = torch.arange(prompt.x.shape[1], device=self.device)[None]
        rope = HunYuanRotaryEmbedding(self.config).to(self.device)(prompt.x, positions)
        # Without a mask the implementation "sdpa" is causal by itself.
        out = layer(
            prompt.x, prompt.key, prompt.value, rope, attention_mask=None, past_key_values=None, position_ids=positions
        )
        return Prompt(*out)

    def _scales(
        self, layer: HunYuanDecoderLayer, linears: dict[str, nn.Linear], inputs: dict[str, float], after: list[Prompt]
    ) -> LayerScales:
        weights: dict[str, float] = defaultdict(float)
        seen: dict[str, float] = defaultdict(float)
        for name, linear in linears.items():
            weights[weight_group(name)] = max(weights[weight_group(name)], largest(linear.weight))
            seen[input_group(name)] = max(seen[input_group(name)], inputs.get(name, 0.0))
        k_scale = v_scale = None
        if layer.self_attn.owns_kv:
            k_scale = scale_of(max(largest(prompt.key) for prompt in after if prompt.key is not None))
            v_scale = scale_of(max(largest(prompt.value) for prompt in after if prompt.value is not None))
        experts = [name for name in linears if ".experts." in name and name.endswith("up_proj")]
        return LayerScales(
            weights={group: scale_of(value) for group, value in weights.items()},
            inputs={group: scale_of(value) for group, value in seen.items()},
            k_scale=1.0 if k_scale and self.config.use_qk_norm else k_scale,
            v_scale=v_scale,
            unseen_experts=[number for number, name in enumerate(experts) if name not in inputs],
        )


def linear_layers(layer: nn.Module) -> dict[str, nn.Linear]:
    """Those that are quantised, by their names in the layer: all but the router."""
    return {
        name: module
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear) and name.endswith("_proj")
    }
