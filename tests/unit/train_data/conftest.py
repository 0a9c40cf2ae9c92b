"""A model folder of a few kilobytes with a tokenizer of single bytes and some merges."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.tokenizer.convert import build, tokenizer_config
from hunyuan_runtime.tokenizer.vocabulary import Vocabulary

MERGES = [b"th", b"he", b"the", b" t", b" the", b"in", b"ing", "海".encode()[:2], "海".encode(), "海洋".encode()]


def write_tokenizer(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary(tokens=tuple([bytes([byte]) for byte in range(256)] + MERGES))
    build(vocabulary).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(4096) | changes))
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In BF16, over several shards."""
    folder = write_tokenizer(tmp_path_factory.mktemp("base"))
    torch.manual_seed(0)
    config = HunYuanConfig(
        vocab_size=512, hidden_size=48, intermediate_size=32, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, use_qk_norm=True, use_cla=True, cla_share_factor=2, num_experts=4,
        use_mixed_mlp_moe=True, tie_word_embeddings=True, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    HunYuanForCausalLM(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="60KB")
    return folder
