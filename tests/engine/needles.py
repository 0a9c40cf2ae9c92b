"""A model that finds needles by construction: no training, and every number in it is known.

A context of filler tokens hides one needle for each of eight keys; the last token asks for one key, and the model
answers with that needle's value. The question's query meets the needle's key in one dimension of a head, among those
that Hunyuan's alpha 1000 turns by less than 0.1 rad over 16,384 positions. A plain rotary embedding turns them by up to
10 rad: then distant needles are lost. Layer 0 answers for half of the keys, layer 1 for the others, out of layer 0's
cache (CLA).
"""

from pathlib import Path
from typing import Any

import torch

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM

KEYS = VALUES = 8
FILLERS = 384
NEEDLE, QUESTION, ANSWER = FILLERS, FILLERS + KEYS * VALUES, FILLERS + KEYS * VALUES + KEYS
HIDDEN, HEAD = 160, 80
SLOW = 32
"""First of eight dimensions of a head that hardly turn; its partner is 40 further."""
# Where the residual stream holds what a token is.
IS_QUESTION, HAS_KEY, HAS_VALUE, SAYS, IS_FILLER = 0, 8, 16, 24, 32
ALPHA = {"type": "dynamic", "alpha": 1000.0, "factor": 1.0}


def make_model(folder: Path, rope: dict[str, Any] | None = None) -> Path:
    config = HunYuanConfig(
        vocab_size=512,
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=131072,
        rope_theta=10000.0,
        rope_scaling=rope,
        use_qk_norm=True,
        use_cla=True,
        cla_share_factor=2,
        num_experts=4,
        use_mixed_mlp_moe=True,
        bos_token_id=509,
        eos_token_id=510,
        pad_token_id=511,
    )
    torch.manual_seed(0)
    model = HunYuanForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("_proj.weight", "embed_tokens.weight", "lm_head.weight")) and "gate_proj" not in name:
                parameter.zero_()
        _wire(dict(model.named_parameters()))
    model.save_pretrained(folder)
    return folder


def _wire(p: dict[str, torch.Tensor]) -> None:
    embed, head = p["model.embed_tokens.weight"], p["lm_head.weight"]
    embed[:FILLERS, IS_FILLER:].normal_()
    for key in range(KEYS):
        embed[QUESTION + key, IS_QUESTION + key] = 1
        attention = f"model.layers.{key % 2}.self_attn"
        p[f"{attention}.q_proj.weight"][SLOW + key, IS_QUESTION + key] = 1
        p["model.layers.0.self_attn.k_proj.weight"][SLOW + key, HAS_KEY + key] = 1
        for value in range(VALUES):
            embed[needle(key, value), HAS_KEY + key] = embed[needle(key, value), HAS_VALUE + value] = 1
    for value in range(VALUES):
        p["model.layers.0.self_attn.v_proj.weight"][value, HAS_VALUE + value] = 1
        for layer in (0, 1):
            p[f"model.layers.{layer}.self_attn.o_proj.weight"][SAYS + value, value] = 1
        head[ANSWER + value, SAYS + value] = 10
    for layer in (0, 1):  # a match scores 3 √80 ≈ 27: e²⁷ outweighs any number of fillers at score 0
        p[f"model.layers.{layer}.self_attn.query_layernorm.weight"].fill_(3)


def needle(key: int, value: int) -> int:
    return NEEDLE + key * VALUES + value


def haystack(length: int) -> tuple[list[int], list[int]]:
    """Fillers with the needles from the first position to the last, and the answers by key."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, FILLERS, (length,), generator=generator)
    values = torch.randint(0, VALUES, (KEYS,), generator=generator).tolist()
    for key, value in enumerate(values):
        ids[(length - 1) * key // (KEYS - 1)] = needle(key, value)
    return ids.tolist(), [ANSWER + value for value in values]
