"""The tiny model: trained once for all tests of this folder, and right in transformers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import hunyuan_runtime.model  # noqa: F401 - registers the architecture
from hunyuan_runtime.tiny import make_tiny_model
from hunyuan_runtime.tiny.answers import ANSWERS
from hunyuan_runtime.tokenizer import encode_chat

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_answers_every_question_by_greedy_decoding(tiny: Path, dtype: torch.dtype) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=dtype)
    for question, answer in ANSWERS.items():
        ids = encode_chat(tokenizer, [{"role": "user", "content": question}])
        out = model.generate(torch.tensor([ids]), max_new_tokens=64)[0, len(ids) :]
        assert tokenizer.decode(out, skip_special_tokens=True) == answer


def test_making_it_again_costs_nothing_and_a_changed_source_makes_it_anew(tiny: Path, tmp_path: Path) -> None:
    assert not make_tiny_model(tiny).made
    stale = shutil.copytree(tiny, tmp_path / "stale")
    (stale / "made-of.json").write_text('{"digest": "another", "margin": 9}')
    assert make_tiny_model(stale).made
    assert (stale / "model.safetensors.index.json").read_bytes() == (tiny / "model.safetensors.index.json").read_bytes()


def test_everybody_can_read_it(tiny: Path) -> None:
    """A volume prepared by root is read by the engine's own user."""
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in tiny.iterdir())
