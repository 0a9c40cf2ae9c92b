"""Run vLLM engines one after the other in a process of their own: ``python engines.py TRIALS.json OUTCOMES.json``.

One process, because importing vLLM costs more than starting an engine of a small model; not pytest's, because vLLM is
set up by the environment and may take its process down.
"""

import gc
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

ENVIRONMENT = {
    "HUNYUAN_DEVICE": "cpu",
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # ranks of one machine may have fewer memory nodes than ranks
}
ON_GPU = {"HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
CACHE_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An engine and what it is asked: either prompts of token ids, or chats."""

    model: str
    prompts: list[list[int]] = field(default_factory=list)
    chats: list[list[dict[str, str]]] = field(default_factory=list)
    new_tokens: int = 24
    options: dict[str, Any] = field(default_factory=dict)
    adapter: str = ""
    """Folder of a LoRA adapter with which prompts are answered."""
    rounded_cache: bool = False
    """Keys and values are rounded to FP8 before they are stored, as an FP8 cache does with scales of 1. CPUs have such
    a cache only with AVX-512, and none for Hunyuan-Large's heads of 80."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What it said, by prompt; or the whole text of the failure."""

    prompt_ids: list[list[int]] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logprobs: list[list[float]] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    """Tokens of each prompt that prefix caching spared."""
    cache_tokens: int = 0
    failure: str = ""


def run_trials(trials: dict[str, Trial], folder: Path, environment: dict[str, str] = ENVIRONMENT) -> dict[str, Outcome]:
    """Outcomes by the trials' names. Raises CalledProcessError if the process of the engines ends early."""
    asked, told = folder / "trials.json", folder / "outcomes.json"
    asked.write_text(json.dumps({name: asdict(trial) for name, trial in trials.items()}))
    with (folder / "engines.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, __file__, asked, told],
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.returncode == 0, (folder / "engines.log").read_text()[-8000:]
    return {name: Outcome(**outcome) for name, outcome in json.loads(told.read_text()).items()}


@contextmanager
def keys_and_values_in_fp8() -> Iterator[None]:
    """In engines of one rank, which are in this process."""
    import torch  # noqa: PLC0415 - only the process of the engines imports them
    from vllm.model_executor.layers.attention import Attention  # noqa: PLC0415

    forward = Attention.forward

    def rounding(self: Any, query: Any, key: Any, value: Any) -> Any:
        key, value = (one.to(torch.float8_e4m3fn).to(one.dtype) for one in (key, value))
        return forward(self, query, key, value)

    with patch.object(Attention, "forward", rounding):
        yield


def run(trial: Trial) -> Outcome:
    with keys_and_values_in_fp8() if trial.rounded_cache else nullcontext():
        return ask(trial)


def ask(trial: Trial) -> Outcome:
    from vllm import LLM, SamplingParams  # noqa: PLC0415 - as above
    from vllm.lora.request import LoRARequest  # noqa: PLC0415 - as above

    options: dict[str, Any] = {
        "dtype": "float32",
        "enforce_eager": True,
        "kv_cache_memory_bytes": CACHE_BYTES,
        "max_model_len": 512,
        "max_num_seqs": 8,
        "skip_tokenizer_init": not trial.chats,
        "seed": 0,
    }
    llm = LLM(trial.model, **(options | trial.options))
    try:
        sampling = SamplingParams(
            temperature=0,
            max_tokens=trial.new_tokens,
            ignore_eos=not trial.chats,
            logprobs=1,
            detokenize=bool(trial.chats),
        )
        if trial.chats:
            answers = llm.chat(trial.chats, sampling, use_tqdm=False)
        else:
            adapter = LoRARequest("adapter", 1, trial.adapter) if trial.adapter else None
            prompts = [{"prompt_token_ids": ids} for ids in trial.prompts]
            answers = llm.generate(prompts, sampling, use_tqdm=False, lora_request=adapter)
        cache = llm.llm_engine.vllm_config.cache_config
        says = [answer.outputs[0] for answer in answers]
        return Outcome(
            prompt_ids=[list(answer.prompt_token_ids) for answer in answers],
            ids=[list(said.token_ids) for said in says],
            texts=[said.text for said in says],
            logprobs=[
                [step[token].logprob for step, token in zip(said.logprobs, said.token_ids, strict=True)]
                for said in says
            ],
            cached=[int(answer.num_cached_tokens or 0) for answer in answers],
            cache_tokens=cache.num_gpu_blocks * cache.block_size,
        )
    finally:
        llm.llm_engine.engine_core.shutdown()


def main(asked: str, told: str) -> None:
    from vllm.distributed import cleanup_dist_env_and_memory  # noqa: PLC0415 - as above

    outcomes = {}
    for name, trial in json.loads(Path(asked).read_text()).items():
        print(f"==== {name}", flush=True)
        try:
            outcomes[name] = run(Trial(**trial))
        except Exception:
            outcomes[name] = Outcome(failure=traceback.format_exc())
        gc.collect()
        cleanup_dist_env_and_memory()
    Path(told).write_text(json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
