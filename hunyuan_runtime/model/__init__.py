"""HunYuanForCausalLM, the architecture of Hunyuan-Large, for transformers 5: no remote code.

Importing this package registers configuration and model with transformers' Auto classes.
"""

from transformers import AutoConfig, AutoModelForCausalLM

from hunyuan_runtime.model.config import HunYuanConfig
from hunyuan_runtime.model.modeling import HunYuanForCausalLM, HunYuanModel

AutoConfig.register("hunyuan", HunYuanConfig, exist_ok=True)
AutoModelForCausalLM.register(HunYuanConfig, HunYuanForCausalLM, exist_ok=True)

__all__ = ["HunYuanConfig", "HunYuanForCausalLM", "HunYuanModel"]
