"""HunYuanForCausalLM in vLLM, with one KV cache for every group of layers that share keys and values (CLA).

Every layer of a group has a key_layernorm gain g of its own, so normalised keys differ within a group and one cache
could not hold them. What the layers do share is the rotated key of unit RMS, k̂: since q·(g*k̂) = (q*g)·k̂, the first
layer of a group caches k̂ and every layer folds its g into its queries. Exact, and half the cache at two layers a group.

A pipeline stage holds whole groups: its layers read a cache of the same stage.
Only weights of published names load, and all of them must be there (engine_weights.py).
"""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from vllm import envs
from vllm.compilation.decorators import support_torch_compile
from vllm.config import VllmConfig
from vllm.distributed import get_pp_group, get_tensor_model_parallel_world_size, get_world_group
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
)
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.models.interfaces import SupportsLoRA, SupportsPP
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    PPMissingLayer,
    WeightsMapper,
    extract_layer_index,
    make_empty_intermediate_tensors_factory,
    maybe_prefix,
)
from vllm.model_executor.offloader import get_offloader
from vllm.sequence import IntermediateTensors

from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.engine_layout import rope_parameters, stage_layers
from hunyuan_runtime.serve.engine_moe import HunYuanMLP, HunYuanMoE
from hunyuan_runtime.serve.engine_weights import checked, fused_names, share_kv_scales
from hunyuan_runtime.serve.load_progress import counted, teller, weight_bytes

KeysValues = tuple[Tensor, Tensor]


class HunYuanAttention(nn.Module):
    def __init__(self, config: HunYuanConfig, cache_config: Any, quant_config: Any, prefix: str) -> None:
        super().__init__()
        assert config.head_dim is not None
        assert config.num_key_value_heads is not None
        index, ranks = extract_layer_index(prefix), get_tensor_model_parallel_world_size()
        first_of_group = index - index % config.kv_group_size
        self.owns_kv = index == first_of_group
        self.head_dim, heads = config.head_dim, config.num_attention_heads
        self.num_kv_heads = max(1, config.num_key_value_heads // ranks)
        self.q_size, self.kv_size = heads // ranks * self.head_dim, self.num_kv_heads * self.head_dim
        options: dict[str, Any] = {"bias": config.attention_bias, "quant_config": quant_config}
        if self.owns_kv:
            self.qkv_proj = QKVParallelLinear(
                config.hidden_size,
                self.head_dim,
                heads,
                config.num_key_value_heads,
                prefix=f"{prefix}.qkv_proj",
                **options,
            )
        else:
            self.q_proj = ColumnParallelLinear(
                config.hidden_size, heads * self.head_dim, prefix=f"{prefix}.q_proj", **options
            )
        self.o_proj = RowParallelLinear(heads * self.head_dim, config.hidden_size, prefix=f"{prefix}.o_proj", **options)
        self.rotary_emb = get_rope(
            self.head_dim, max_position=config.max_position_embeddings, rope_parameters=rope_parameters(config)
        )
        self.use_qk_norm = config.use_qk_norm
        if config.use_qk_norm:
            self.query_layernorm = RMSNorm(self.head_dim, eps=config.rms_norm_eps)
            self.key_layernorm = RMSNorm(self.head_dim, eps=config.rms_norm_eps)  # holds the gain; see the module
            self.unit_norm = RMSNorm(self.head_dim, eps=config.rms_norm_eps, has_weight=False)
        owner = prefix.replace(f"layers.{index}.", f"layers.{first_of_group}.")
        self.attn = Attention(
            heads // ranks,
            self.head_dim,
            self.head_dim**-0.5,
            num_kv_heads=self.num_kv_heads,
            cache_config=cache_config,
            quant_config=quant_config,
            prefix=f"{prefix}.attn",
            kv_sharing_target_layer_name=None if self.owns_kv else f"{owner}.attn",
        )

    def forward(self, positions: Tensor, x: Tensor, shared: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """Attend and return the output with the group's keys and values of these tokens."""
        if self.owns_kv:
            qkv, _ = self.qkv_proj(x)
            query, key, value = qkv.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
            query, key = self.rotary_emb(positions, query, key)
            if self.use_qk_norm:
                key = self.unit_norm(key.reshape(-1, self.head_dim)).view(-1, self.kv_size)
            shared = key, value
        else:
            query, _ = self.q_proj(x)
            query, _ = self.rotary_emb(positions, query, None)
        assert shared is not None, "the first layer of every group owns keys and values"
        if self.use_qk_norm:
            query = self.query_layernorm(query.reshape(-1, self.head_dim)) * self.key_layernorm.weight
            query = query.view(-1, self.q_size)
        out, _ = self.o_proj(self.attn(query, *shared))
        return out, shared


class HunYuanDecoderLayer(nn.Module):
    def __init__(self, config: HunYuanConfig, cache_config: Any, quant_config: Any, prefix: str) -> None:
        super().__init__()
        self.self_attn = HunYuanAttention(config, cache_config, quant_config, f"{prefix}.self_attn")
        self.mlp: nn.Module = (
            HunYuanMoE(config, quant_config, f"{prefix}.mlp")
            if config.num_experts > 1
            else HunYuanMLP(config, config.intermediate_size, quant_config, f"{prefix}.mlp")
        )
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, positions: Tensor, x: Tensor, residual: Tensor | None, shared: KeysValues | None
    ) -> tuple[Tensor, Tensor, KeysValues]:
        if residual is None:
            residual, x = x, self.input_layernorm(x)
        else:
            x, residual = self.input_layernorm(x, residual)
        x, shared = self.self_attn(positions, x, shared)
        x, residual = self.post_attention_layernorm(x, residual)
        assert residual is not None
        return self.mlp(x), residual, shared


def make_stage(
    layers: int, group: int, make_layer: Callable[[str], nn.Module], prefix: str
) -> tuple[int, int, nn.ModuleList]:
    """This rank's layers at their places in the whole model, with vLLM's placeholders for the others."""
    pipeline = get_pp_group()
    start, end = stage_layers(layers, group, pipeline.rank_in_group, pipeline.world_size, envs.VLLM_PP_LAYER_PARTITION)
    own = get_offloader().wrap_modules(make_layer(f"{prefix}.{index}") for index in range(start, end))
    before, after = ([PPMissingLayer() for _ in range(count)] for count in (start, layers - end))
    return start, end, nn.ModuleList([*before, *own, *after])


@support_torch_compile
class HunYuanModel(nn.Module):
    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config, cache_config, quant_config = (
            vllm_config.model_config.hf_config,
            vllm_config.cache_config,
            vllm_config.quant_config,
        )
        self.config = config
        pipeline = get_pp_group()
        self.embed_tokens: nn.Module = PPMissingLayer()
        if pipeline.is_first_rank or (config.tie_word_embeddings and pipeline.is_last_rank):
            self.embed_tokens = VocabParallelEmbedding(
                config.vocab_size, config.hidden_size, quant_config=quant_config, prefix=f"{prefix}.embed_tokens"
            )
        self.start_layer, self.end_layer, self.layers = make_stage(
            config.num_hidden_layers,
            config.kv_group_size,
            lambda prefix: HunYuanDecoderLayer(config, cache_config, quant_config, prefix),
            f"{prefix}.layers",
        )
        self.norm: nn.Module = PPMissingLayer()
        if pipeline.is_last_rank:
            self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states", "residual"], config.hidden_size
        )

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        embedded: Tensor = self.embed_tokens(input_ids)
        return embedded

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor | IntermediateTensors:
        residual: Tensor | None = None
        if intermediate_tensors is not None:
            x, residual = intermediate_tensors["hidden_states"], intermediate_tensors["residual"]
        elif inputs_embeds is not None:
            x = inputs_embeds
        else:
            assert input_ids is not None
            x = self.embed_input_ids(input_ids)
        shared: KeysValues | None = None
        for layer in islice(self.layers, self.start_layer, self.end_layer):
            x, residual, shared = layer(positions, x, residual, shared)
        if not get_pp_group().is_last_rank:
            return IntermediateTensors({"hidden_states": x, "residual": residual})
        x, _ = self.norm(x, residual)
        return x


class HunYuanForCausalLM(nn.Module, SupportsLoRA, SupportsPP):
    # The names under which transformers saves: other tensor files in the folder are not the model's.
    allow_patterns_overrides = ["model*.safetensors", "pytorch_model*.bin"]  # noqa: RUF012 - vLLM reads class attributes
    packed_modules_mapping = {  # noqa: RUF012 - likewise
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        self.config: HunYuanConfig = vllm_config.model_config.hf_config
        self.quant_config = vllm_config.quant_config
        self.checkpoint = Path(vllm_config.model_config.model)
        self.model = HunYuanModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        self.lm_head: nn.Module = PPMissingLayer()
        if get_pp_group().is_last_rank:
            head = ParallelLMHead(
                self.config.vocab_size,
                self.config.hidden_size,
                quant_config=self.quant_config,
                prefix=maybe_prefix(prefix, "lm_head"),
            )
            self.lm_head = head.tie_weights(self.model.embed_tokens) if self.config.tie_word_embeddings else head
        self.logits_processor = LogitsProcessor(self.config.vocab_size)
        self.make_empty_intermediate_tensors = self.model.make_empty_intermediate_tensors

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        return self.model.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor | IntermediateTensors:
        out: Tensor | IntermediateTensors = self.model(input_ids, positions, intermediate_tensors, inputs_embeds)
        return out

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        logits: Tensor | None = self.logits_processor(self.lm_head, hidden_states)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load a checkpoint of published names.

        Raises:
            ValueError: a tensor is missing, unexpected or of another shape; the message names it.

        """
        total = weight_bytes(self.checkpoint, self.allow_patterns_overrides)
        weights = counted(weights, total, teller(get_world_group().rank, total))
        prepared = share_kv_scales(checked(weights, self.config), self.config)
        mapper = WeightsMapper(orig_to_new_stacked=fused_names(self.config))
        loaded: set[str] = AutoWeightsLoader(self).load_weights(prepared, mapper=mapper)
        return loaded
