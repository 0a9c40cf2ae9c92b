"""Load FP8 checkpoints into vLLM's model on a CPU: ``python fp8_loading.py TOLD.json CHECKPOINT...``.

A CPU has no FP8 kernels, so those are replaced by nothing; configuration, parameters and weight loaders are vLLM's own.
Tells for each checkpoint the scales that have arrived, and which parameters no tensor reached.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock


def without_kernels() -> None:
    from vllm.model_executor.layers.quantization import fp8  # noqa: PLC0415 - only this process imports vLLM
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors_moe import (  # noqa: PLC0415
        compressed_tensors_moe_w8a8_fp8 as experts,
    )
    from vllm.model_executor.layers.quantization.compressed_tensors.schemes import (  # noqa: PLC0415
        compressed_tensors_w8a8_fp8 as linear,
    )

    for module in (fp8, linear):
        module.init_fp8_linear_kernel = lambda **_: MagicMock()
    for module in (fp8, experts):
        module.select_fp8_moe_backend = lambda **_: (None, None)


def load(checkpoint: str, port: int) -> dict[str, Any]:
    import torch  # noqa: PLC0415 - as above
    from vllm.config import set_current_vllm_config  # noqa: PLC0415
    from vllm.distributed import (  # noqa: PLC0415
        cleanup_dist_env_and_memory,
        ensure_model_parallel_initialized,
        init_distributed_environment,
    )
    from vllm.engine.arg_utils import EngineArgs  # noqa: PLC0415
    from vllm.model_executor.model_loader import get_model_loader  # noqa: PLC0415
    from vllm.model_executor.model_loader.utils import initialize_model  # noqa: PLC0415

    arguments = EngineArgs(
        model=checkpoint, dtype="bfloat16", kv_cache_dtype="fp8", enforce_eager=True, skip_tokenizer_init=True
    )
    config = arguments.create_engine_config()
    with set_current_vllm_config(config):
        init_distributed_environment(1, 0, f"tcp://127.0.0.1:{port}", 0, "gloo")
        ensure_model_parallel_initialized(1, 1)
        torch.set_default_dtype(torch.bfloat16)
        model = initialize_model(vllm_config=config)
        loader = get_model_loader(config.load_config)
        loaded = model.load_weights(loader.get_all_weights(config.model_config, model))
        parameters = dict(model.named_parameters())
        cleanup_dist_env_and_memory()
    return {
        "scales": {name: values.float().flatten().tolist() for name, values in parameters.items() if "scale" in name},
        "eight_bits": sorted(name for name, values in parameters.items() if values.dtype == torch.float8_e4m3fn),
        "unreached": sorted(set(parameters) - loaded),
    }


def main(told: str, *checkpoints: str) -> None:
    without_kernels()
    outcomes = {checkpoint: load(checkpoint, 29770 + at) for at, checkpoint in enumerate(checkpoints)}
    Path(told).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
