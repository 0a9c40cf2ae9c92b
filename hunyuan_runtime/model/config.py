"""config.json of Hunyuan-Large. Imports no torch, so that vLLM's plugin can register it early."""

from typing import Any

from transformers import PreTrainedConfig


class HunYuanConfig(PreTrainedConfig):
    """Fields and class defaults of the published configuration; a checkpoint's config.json overrides them.

    ``rope_scaling {type: dynamic, alpha, factor}`` is kept as transformers' ``rope_parameters`` with the same keys.
    With ``alpha`` the base is ``rope_theta * alpha ** (d / (d - 2))`` at every length: static, unlike what other models
    call dynamic.

    Raises:
        ValueError: a shape that this architecture doesn't have; the message names the field.

    """

    model_type = "hunyuan"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 - transformers reads this class attribute as a list
    ignore_keys_at_rope_validation = {"alpha"}  # noqa: RUF012 - likewise

    vocab_size: int = 290943
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    rope_parameters: dict[str, Any] | None = None
    attention_bias: bool = False
    attention_dropout: float | int = 0.0
    use_qk_norm: bool = False
    use_cla: bool = False
    cla_share_factor: int = 1
    num_experts: int = 1
    moe_topk: int = 1
    use_mixed_mlp_moe: bool = False
    num_shared_expert: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            if self.hidden_size % self.num_attention_heads:
                raise ValueError(
                    f"hidden_size {self.hidden_size} is not a multiple of "
                    f"num_attention_heads {self.num_attention_heads}"
                )
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.use_cla and self.cla_share_factor < 1:
            raise ValueError(f"cla_share_factor must be at least 1, not {self.cla_share_factor}")
        if not isinstance(self.num_experts, int) or not isinstance(self.moe_topk, int):
            raise ValueError(
                "num_experts and moe_topk differ by layer: that is a later Hunyuan model, not Hunyuan-Large"
            )
        if not 1 <= self.moe_topk <= self.num_experts:
            raise ValueError(f"moe_topk {self.moe_topk} is not between 1 and num_experts {self.num_experts}")
        super().__post_init__(**kwargs)

    @property
    def kv_group_size(self) -> int:
        """Layers that share the keys and values of their group's first layer; 1 without cross-layer attention."""
        return self.cla_share_factor if self.use_cla else 1

    def validate_rope(self, *_: Any, **__: Any) -> None:
        """``dynamic`` with ``alpha`` is Hunyuan's own; transformers' check doesn't know it."""
