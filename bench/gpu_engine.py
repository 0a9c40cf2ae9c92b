"""One engine of bench/gpu.py, in a process of its own: ``python gpu_engine.py ASKED.json TOLD.json``.

The weights are random, made on the device under the names of a checkpoint, and go the way of a checkpoint's: through
the model's own checks and loaders and, where asked for, through vLLM's quantisation at load.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from slices import BATCHES, Load, Speed
from torch import Tensor
from vllm import LLM, SamplingParams
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader
from vllm.platforms import current_platform

from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.engine_weights import expected_tensors

REPEATS = 2
TEXTS, TEXT = 4, 256
"""So many texts of so many tokens are what engines are compared over."""


@register_model_loader("random")
class RandomWeights(BaseModelLoader):  # type: ignore[misc]  # vLLM publishes no types
    def download_model(self, model_config: Any) -> None:
        """There is nothing to download."""

    def load_weights(self, model: Any, model_config: Any) -> None:
        with torch.device(current_platform.device_type):
            model.load_weights(random_weights(model_config.hf_config, model_config.dtype))


def random_weights(config: HunYuanConfig, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """The same for the same shape, on the device that torch makes tensors on by default."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(0)
    for name, shape in expected_tensors(config).items():
        if "norm" in name:
            yield name, torch.ones(shape, dtype=dtype)
        else:
            yield name, torch.empty(shape, dtype=dtype).normal_(std=config.initializer_range, generator=generator)


def texts(count: int, length: int, vocabulary: int, seed: int) -> list[dict[str, list[int]]]:
    generator = torch.Generator("cpu").manual_seed(seed)
    ids = torch.randint(0, vocabulary, (count, length), generator=generator, device="cpu").tolist()
    return [{"prompt_token_ids": text} for text in ids]


def seconds(llm: Any, prompts: list[dict[str, list[int]]], tokens: int) -> float:
    sampling = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
    began = time.perf_counter()
    llm.generate(prompts, sampling, use_tqdm=False)
    return time.perf_counter() - began


def speed(llm: Any, batch: int, load: Load, vocabulary: int) -> Speed:
    """From whole answers and from first tokens alone; their difference is what the other tokens took."""
    prompts = texts(batch, load.prompt, vocabulary, seed=batch)
    seconds(llm, prompts, 2)  # kernels of this size are made now
    first = min(seconds(llm, prompts, 1) for _ in range(REPEATS))
    whole = min(seconds(llm, prompts, 1 + load.answer) for _ in range(REPEATS))
    return Speed(
        batch=batch, decode=batch * load.answer / max(whole - first, 1e-9), prefill=batch * load.prompt / first
    )


def next_tokens(llm: Any, load: Load, vocabulary: int) -> dict[str, list[Any]]:
    """At each place of some texts: the likeliest next token, and the log-probability of the text's own."""
    prompts = texts(TEXTS, min(TEXT, load.prompt), vocabulary, seed=0)
    sampling = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1, detokenize=False)
    likeliest, logprobs = [], []
    for answer in llm.generate(prompts, sampling, use_tqdm=False):
        for token, place in zip(answer.prompt_token_ids[1:], answer.prompt_logprobs[1:], strict=True):
            likeliest.append(next(each for each, found in place.items() if found.rank == 1))
            logprobs.append(place[token].logprob)
    return {"likeliest": likeliest, "logprobs": logprobs}


def run(asked: dict[str, Any]) -> dict[str, Any]:
    load = Load(**asked["load"])
    began = time.perf_counter()
    llm = LLM(
        asked["model"],
        load_format="random",
        skip_tokenizer_init=True,
        dtype="bfloat16",
        seed=0,
        max_model_len=load.max_model_len,
        max_num_seqs=max(BATCHES),
        max_num_batched_tokens=max(BATCHES) * load.prompt,
        kv_cache_memory_bytes=load.cache_bytes,
        enable_prefix_caching=False,
        **asked["options"],
    )
    started = time.perf_counter() - began
    cache = llm.llm_engine.vllm_config.cache_config
    vocabulary = llm.llm_engine.model_config.get_vocab_size()
    told: dict[str, Any] = {"start_seconds": started, "cache_tokens": cache.num_gpu_blocks * cache.block_size}
    if asked["speeds"]:
        told["speeds"] = [vars(speed(llm, batch, load, vocabulary)) for batch in BATCHES]
    if asked["compared"]:
        told |= next_tokens(llm, load, vocabulary)
    llm.llm_engine.engine_core.shutdown()
    return told


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))
