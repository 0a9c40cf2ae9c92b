"""The shape of a checkpoint's model, as far as arithmetic about memory and time needs it."""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.validation import Rule, rules


class Architecture(Model):
    """Numbers from a checkpoint's config.json, under its own names in camelCase and with its defaults.

    Only the plan reads them; the runtime reads the file itself.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="has(self.headDim) || self.hiddenSize % self.numAttentionHeads == 0",
                message="must be a multiple of numAttentionHeads, unless headDim is set",
                field=".hiddenSize",
            ),
            Rule(
                rule="!has(self.numKeyValueHeads) || self.numAttentionHeads % self.numKeyValueHeads == 0",
                message="must divide numAttentionHeads",
                field=".numKeyValueHeads",
            ),
        )
    )

    num_hidden_layers: int = Field(ge=1, le=1024, description="Layers")
    hidden_size: int = Field(ge=1, le=1048576, description="Width of the residual stream")
    intermediate_size: int = Field(ge=1, le=1048576, description="Width of one expert, and of one shared expert")
    vocab_size: int = Field(ge=1, le=16777216, description="Rows of the embedding")
    num_attention_heads: int = Field(ge=1, le=1024, description="Query heads")
    num_key_value_heads: int | None = Field(
        default=None, ge=1, le=1024, description="Key and value heads; as many as query heads if absent"
    )
    head_dim: int | None = Field(
        default=None, ge=1, le=1024, description="Width of a head; hiddenSize / numAttentionHeads if absent"
    )
    num_experts: int = Field(default=1, ge=1, le=4096, description="Routed experts of a layer; 1 is a plain layer")
    moe_topk: int = Field(default=1, ge=1, le=4096, description="Routed experts that each token visits")
    use_mixed_mlp_moe: bool = Field(default=False, description="Whether layers have shared experts beside routed ones")
    num_shared_expert: int = Field(default=1, ge=1, le=64, description="Shared experts, if there are any")
    use_cla: bool = Field(default=False, description="Whether layers share keys and values (cross-layer attention)")
    cla_share_factor: int = Field(default=1, ge=1, le=64, description="Layers that share them, if they do")
    use_qk_norm: bool = Field(default=False, description="Whether queries and keys are normalised, with a gain each")
    tie_word_embeddings: bool = Field(default=False, description="Whether the output head is the embedding")
    weight_block_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Side of the blocks that share a scale in an FP8 checkpoint (the first of quantization_config's "
        "weight_block_size); absent where whole tensors or channels do",
    )

    @model_validator(mode="after")
    def _heads_are_whole(self) -> Self:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads, unless head_dim is set")
        if self.num_attention_heads % self.kv_heads:
            raise ValueError("num_key_value_heads must divide num_attention_heads")
        return self

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def kv_group(self) -> int:
        """Layers that share the keys and values of the first of them."""
        return self.cla_share_factor if self.use_cla else 1

    @property
    def shared_experts(self) -> int:
        return self.num_shared_expert if self.use_mixed_mlp_moe and self.num_experts > 1 else 0


HUNYUAN_LARGE = Architecture(
    num_hidden_layers=64,
    hidden_size=6400,
    intermediate_size=18304,
    vocab_size=129024,
    num_attention_heads=80,
    num_key_value_heads=8,
    num_experts=16,
    moe_topk=1,
    use_mixed_mlp_moe=True,
    num_shared_expert=1,
    use_cla=True,
    cla_share_factor=2,
    use_qk_norm=True,
    tie_word_embeddings=True,
)
"""As published: 388.7 billion parameters, of which a token uses 51.3 billion."""
