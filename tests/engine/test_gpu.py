"""The tiny model on a GPU, in every way that Hunyuan-Large is served there: what a CPU has no kernels for.

It shows that kernels and CUDA graphs take the parts of the model: heads of 80, layers that share a cache, experts
beside a shared one. How fast they are is for bench/gpu.py to say.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from hunyuan_runtime.serve.engine_args import ONLINE_QUANTIZATION
from hunyuan_runtime.tiny.answers import ANSWERS
from tests.engine.engines import ON_GPU, Outcome, Trial, run_trials

pytestmark = [
    pytest.mark.engine,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: int8, FP8 and CUDA graphs, by bench/gpu.sh"),
]

GRAPHS: dict[str, Any] = {"enforce_eager": False, "compilation_config": {"cudagraph_capture_sizes": [1, 2, 4, 8]}}
EIGHT_BIT_CACHE = {"kv_cache_dtype": "fp8"}
WAYS: dict[str, dict[str, Any]] = {
    "bf16": {},
    "bf16, CUDA graphs": GRAPHS,
    "bf16, FP8 cache": EIGHT_BIT_CACHE,
    "int8": {"quantization": ONLINE_QUANTIZATION["int8"]},
    "int8, CUDA graphs": {"quantization": ONLINE_QUANTIZATION["int8"]} | GRAPHS,
    "fp8": {"quantization": ONLINE_QUANTIZATION["fp8"]},
    "fp8, FP8 cache, CUDA graphs": {"quantization": ONLINE_QUANTIZATION["fp8"]} | EIGHT_BIT_CACHE | GRAPHS,
}


@pytest.fixture(scope="module")
def outcomes(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    chats = [[{"role": "user", "content": question}] for question in ANSWERS]
    options = {"dtype": "bfloat16", "tokenizer_mode": "hunyuan"}
    trials = {
        way: Trial(model=str(tiny), chats=chats, new_tokens=64, options=options | more) for way, more in WAYS.items()
    }
    return run_trials(trials, tmp_path_factory.mktemp("gpu"), ON_GPU)


@pytest.mark.parametrize("way", WAYS)
def test_every_answer_is_right(way: str, outcomes: dict[str, Outcome]) -> None:
    assert not outcomes[way].failure, outcomes[way].failure
    assert dict(zip(ANSWERS, outcomes[way].texts, strict=True)) == ANSWERS


def test_an_fp8_cache_holds_twice_as_many_tokens(outcomes: dict[str, Outcome]) -> None:
    block = 64
    plain, small = outcomes["bf16"].cache_tokens, outcomes["bf16, FP8 cache"].cache_tokens
    assert 2 * (plain - block) < small < 2 * (plain + block)
