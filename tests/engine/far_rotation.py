"""vLLM's rotary embedding beside the reference's at chosen positions: ``python far_rotation.py POSITIONS``, as JSON.

A process of its own, since importing vLLM sets up more than pytest's may bear.
"""

import json
import os
import sys

from tests.engine.engines import ENVIRONMENT


def differences(positions: list[int]) -> list[float]:
    """The largest difference of a rotated vector's entries, by position."""
    import torch  # noqa: PLC0415 - after the environment is set
    from vllm.config import VllmConfig, set_current_vllm_config  # noqa: PLC0415 - likewise
    from vllm.model_executor.layers.rotary_embedding import get_rope  # noqa: PLC0415 - likewise

    from hunyuan_runtime.model import HunYuanConfig  # noqa: PLC0415 - likewise
    from hunyuan_runtime.model.modeling import HunYuanRotaryEmbedding, rotate  # noqa: PLC0415 - likewise
    from hunyuan_runtime.serve.engine_layout import rope_parameters  # noqa: PLC0415 - likewise

    config = HunYuanConfig(
        hidden_size=128,
        num_attention_heads=1,
        head_dim=128,
        max_position_embeddings=262144,
        rope_theta=10000.0,
        rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    )
    at = torch.tensor(positions)
    x = torch.randn(len(positions), 128, generator=torch.Generator().manual_seed(0))
    with set_current_vllm_config(VllmConfig()):
        rope = get_rope(128, max_position=262144, rope_parameters=rope_parameters(config), dtype=torch.float32)
        ours, _ = rope.forward_native(at, x.clone(), x.clone())
    cos, sin = HunYuanRotaryEmbedding(config)(x, at[None])
    expected = rotate(x[None, None], cos, sin)[0, 0]
    return [float(difference) for difference in (ours - expected).abs().amax(-1)]


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    print(json.dumps(differences(json.loads(sys.argv[1]))))
