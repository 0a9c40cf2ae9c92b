"""Entry points through which vLLM finds this project, in every process that it starts.

Both are called before vLLM knows its device and its model, often several times: they import little and repeat nothing.
"""

import os
from typing import Any

PLATFORM_VARIABLE = "HUNYUAN_DEVICE"
"""Set to ``cpu`` in the CPU image; on GPUs vLLM's own platform serves and the variable is absent or ``cuda``."""


def register() -> None:
    """Make vLLM know ``model_type: hunyuan``, HunYuanForCausalLM and the tokenizer mode ``hunyuan``."""
    from vllm import ModelRegistry  # noqa: PLC0415 - vLLM is being imported when the entry point is
    from vllm.renderers.registry import RENDERER_REGISTRY  # noqa: PLC0415 - likewise
    from vllm.tokenizers.registry import TokenizerRegistry  # noqa: PLC0415 - likewise
    from vllm.transformers_utils.config import _CONFIG_REGISTRY  # noqa: PLC0415 - likewise

    from hunyuan_runtime.model import HunYuanConfig  # noqa: PLC0415 - registers with transformers, which is slow to import

    if "hunyuan" in _CONFIG_REGISTRY:
        return
    _CONFIG_REGISTRY["hunyuan"] = HunYuanConfig
    ModelRegistry.register_model("HunYuanForCausalLM", engine_model())
    TokenizerRegistry.register("hunyuan", "hunyuan_runtime.serve.chat_encoding", "HunYuanTokenizer")
    RENDERER_REGISTRY.register("hunyuan", "hunyuan_runtime.serve.chat_encoding", "HunYuanRenderer")


def engine_model() -> Any:
    """The model's class on CPUs; elsewhere its name, since importing it may initialise CUDA too early.

    To learn what a model given by name can do, vLLM imports it in a process of its own: ten seconds of every start.
    """
    if os.environ.get(PLATFORM_VARIABLE) != "cpu":
        return "hunyuan_runtime.serve.engine_model:HunYuanForCausalLM"
    from hunyuan_runtime.serve.engine_model import HunYuanForCausalLM  # noqa: PLC0415 - imports much of vLLM

    return HunYuanForCausalLM


def platform() -> str | None:
    """Path of the platform class for CPUs on several nodes, or None where vLLM's own choice stands."""
    if os.environ.get(PLATFORM_VARIABLE) == "cpu":
        return "hunyuan_runtime.serve.cpu_platform.MultiNodeCpuPlatform"
    return None
