"""What vLLM is told before it knows its device."""

import subprocess
import sys

import pytest

from hunyuan_runtime.serve.plugin import engine_model, platform


@pytest.mark.parametrize("device", [None, "cuda", ""])
def test_only_the_cpu_image_replaces_vllms_platform(device: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUNYUAN_DEVICE", raising=False)
    if device is not None:
        monkeypatch.setenv("HUNYUAN_DEVICE", device)
    assert platform() is None
    monkeypatch.setenv("HUNYUAN_DEVICE", "cpu")
    assert platform() == "hunyuan_runtime.serve.cpu_platform.MultiNodeCpuPlatform"


def test_on_gpus_the_model_is_named_and_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNYUAN_DEVICE", "cuda")
    assert engine_model() == "hunyuan_runtime.serve.engine_model:HunYuanForCausalLM"


def test_loading_the_entry_points_imports_nothing_heavy() -> None:
    program = (
        "import sys, hunyuan_runtime.serve.plugin; print({'torch', 'transformers', 'vllm', 'ray'} & {*sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
