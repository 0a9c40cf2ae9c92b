"""Hunyuan-Large in PyTorch: pre-norm decoder, grouped-query and cross-layer attention (CLA), mixture of experts.

With CLA, ``kv_group_size`` consecutive layers form a group. The first one projects keys and values; the others have
neither k_proj nor v_proj and take them from it: keys after rotary embedding but before key_layernorm, since every layer
has a key_layernorm of its own. Keys and values go from layer to layer as arguments, never through an attribute, so
gradient checkpointing (of either kind) sees them and gradients are exact. The cache holds one entry a group.

Order in attention, as published: project → RoPE (neox halves) → per-head RMSNorm → softmax(q·k/√d).
Parameter names and shapes are those of the published checkpoints.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hunyuan_runtime.model.config import HunYuanConfig


class HunYuanRMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise in fp32; the gain is applied in the input's dtype."""
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def inverse_frequencies(config: HunYuanConfig) -> tuple[Tensor, float]:
    """fp32 inverse frequencies [head_dim / 2] and the factor on cos and sin."""
    rope: dict[str, Any] = config.rope_parameters or {}
    kind, base, dim = rope.get("rope_type", "default"), rope.get("rope_theta", 10000.0), config.head_dim
    assert dim is not None
    if rope.get("alpha"):
        base = base * rope["alpha"] ** (dim / (dim - 2))
    elif kind != "default":
        inv_freq, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
        return inv_freq, factor
    return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim), 1.0


class HunYuanRotaryEmbedding(nn.Module):
    inv_freq: Tensor
    original_inv_freq: Tensor

    def __init__(self, config: HunYuanConfig) -> None:
        super().__init__()
        rope: dict[str, Any] = config.rope_parameters or {}
        self.config = config
        self.rope_type = "default" if rope.get("alpha") else rope.get("rope_type", "default")
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        inv_freq, self.attention_scaling = inverse_frequencies(config)
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.register_buffer("original_inv_freq", inv_freq.clone(), persistent=False)

    @torch.no_grad()
    @dynamic_rope_update
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cos and sin, [batch, sequence, head_dim] in ``x``'s dtype, computed in fp32."""
        angles = position_ids[..., None].float() * self.inv_freq.float().to(x.device)
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * self.attention_scaling).to(x.dtype), (angles.sin() * self.attention_scaling).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Neox-style rotary embedding of [batch, heads, sequence, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def eager_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """The reference form, softmax in fp32; other implementations come from transformers' registry."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * kwargs["scaling"]
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=kwargs.get("dropout", 0.0), training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class HunYuanAttention(nn.Module):
    def __init__(self, config: HunYuanConfig, layer_idx: int) -> None:
        super().__init__()
        assert config.head_dim is not None
        assert config.num_key_value_heads is not None
        self.config = config
        self.layer_idx = layer_idx
        self.owns_kv = layer_idx % config.kv_group_size == 0
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = True
        query_size = config.num_attention_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size, bias=config.attention_bias)
        if self.owns_kv:
            kv_size = config.num_key_value_heads * self.head_dim
            self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=config.attention_bias)
            self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=config.attention_bias)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=config.attention_bias)
        if config.use_qk_norm:
            self.query_layernorm = HunYuanRMSNorm(self.head_dim, config.rms_norm_eps)
            self.key_layernorm = HunYuanRMSNorm(self.head_dim, config.rms_norm_eps)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def forward(
        self, x: Tensor, shared: tuple[Tensor, Tensor] | None, rope: tuple[Tensor, Tensor], **kwargs: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend and return the output with the group's keys (rotated, without gain) and values, past ones included."""
        mask, cache = kwargs.pop("attention_mask"), kwargs.pop("past_key_values")
        query = rotate(self._heads(self.q_proj(x)), *rope)
        if self.owns_kv:
            shared = rotate(self._heads(self.k_proj(x)), *rope), self._heads(self.v_proj(x))
            if cache is not None:
                shared = cache.update(*shared, self.layer_idx)
        assert shared is not None, "the first layer of every group owns keys and values"
        key, value = shared
        if self.config.use_qk_norm:
            query, key = self.query_layernorm(query), self.key_layernorm(key)
        attend: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        dropout = self.config.attention_dropout if self.training else 0.0
        out, _ = attend(self, query, key, value, mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.o_proj(out.reshape(*x.shape[:-1], -1)), shared


class HunYuanMLP(nn.Module):
    def __init__(self, config: HunYuanConfig, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return out


class HunYuanTopKGate(nn.Module):
    """The router. Weight, input and softmax are fp32 whatever the model's dtype: bf16 flips the choice of expert."""

    def __init__(self, config: HunYuanConfig) -> None:
        super().__init__()
        self.wg = nn.Linear(config.hidden_size, config.num_experts, bias=False, dtype=torch.float32)
        self.top_k = config.moe_topk

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen experts and their weights, both [rows, top_k].

        The weight of a single expert is its raw probability; several are normalised to a sum of one.
        """
        probabilities = nn.functional.linear(rows.float(), self.wg.weight.float()).softmax(dim=-1)
        weights, experts = probabilities.topk(self.top_k, dim=-1)
        if self.top_k > 1:
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).eps)
        return experts, weights


class HunYuanMoE(nn.Module):
    """shared_mlp(x) + Σ weight · expert(x).

    Each expert computes its own rows only: O(rows · top_k), no capacity, no drops. Rows are sorted by expert, so that
    an expert's lie together: one gather, one scatter and one wait for the device, whatever the number of experts.
    """

    def __init__(self, config: HunYuanConfig) -> None:
        super().__init__()
        self.gate = HunYuanTopKGate(config)
        self.experts = nn.ModuleList(HunYuanMLP(config, config.intermediate_size) for _ in range(config.num_experts))
        if config.use_mixed_mlp_moe:
            self.shared_mlp = HunYuanMLP(config, config.intermediate_size * config.num_shared_expert)
        self.mixed = config.use_mixed_mlp_moe

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        experts, weights = self.gate(rows)
        order = experts.flatten().argsort(stable=True)
        token = order // experts.shape[-1]
        counts = torch.bincount(experts.flatten(), minlength=len(self.experts)).tolist()
        parts = torch.split(rows.index_select(0, token), counts)
        # In training an expert without rows still takes part, so that ranks of ZeRO-3 stay in step.
        routed = torch.cat(
            [expert(part) for expert, part in zip(self.experts, parts, strict=True) if self.training or len(part)]
        )
        routed = routed * weights.flatten()[order, None].to(routed.dtype)
        out = self.shared_mlp(rows) if self.mixed else torch.zeros_like(rows)
        return out.index_add(0, token, routed).view_as(x)


class HunYuanDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config: HunYuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = HunYuanAttention(config, layer_idx)
        self.mlp = HunYuanMoE(config) if config.num_experts > 1 else HunYuanMLP(config, config.intermediate_size)
        self.input_layernorm = HunYuanRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = HunYuanRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, key: Tensor | None, value: Tensor | None, rope: tuple[Tensor, Tensor], **kwargs: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values are positional tensors: the only form in which reentrant checkpointing tracks them."""
        shared = None if key is None or value is None else (key, value)
        attended, shared = self.self_attn(self.input_layernorm(x), shared, rope, **kwargs)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), *shared


class HunYuanPreTrainedModel(PreTrainedModel):
    config_class = HunYuanConfig
    config: HunYuanConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["HunYuanDecoderLayer"]  # noqa: RUF012 - transformers reads these class attributes as lists
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _keep_in_fp32_modules_strict = ["wg"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, HunYuanRotaryEmbedding):  # its buffers are in no checkpoint and lost on the meta device
            inv_freq, _ = inverse_frequencies(module.config)
            init.copy_(module.inv_freq, inv_freq)
            init.copy_(module.original_inv_freq, inv_freq)
        else:
            super()._init_weights(module)


class HunYuanModel(HunYuanPreTrainedModel):
    def __init__(self, config: HunYuanConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(HunYuanDecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = HunYuanRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = HunYuanRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,  # noqa: FBT001 - transformers' own signature
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None and not (self.gradient_checkpointing and self.training):
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(past, past + x.shape[1], device=x.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rope = self.rotary_emb(x, position_ids)
        key = value = None
        for layer in self.layers:
            x, key, value = layer(
                x, key, value, rope, attention_mask=mask, past_key_values=past_key_values, position_ids=position_ids,
                **kwargs,
            )  # fmt: skip
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class HunYuanForCausalLM(HunYuanPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 - as above

    def __init__(self, config: HunYuanConfig) -> None:
        super().__init__(config)
        self.model = HunYuanModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [batch, sequence or its last ``logits_to_keep``, vocabulary]; loss when ``labels`` are given.

        The first four arguments are spelled out because generate() reads this signature to know what to pass.
        """
        loss_kwargs = {key: kwargs.pop(key) for key in ("num_items_in_batch",) if key in kwargs}
        for unused in ("return_dict", "output_attentions", "output_hidden_states"):
            kwargs.pop(unused, None)
        outputs = self.model(input_ids, attention_mask, position_ids, past_key_values, **kwargs)
        states = outputs.last_hidden_state
        logits = self.lm_head(states[:, -logits_to_keep:] if logits_to_keep else states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **loss_kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
