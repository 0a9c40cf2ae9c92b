"""What CUDA says of broken hardware, and what it says of broken programs."""

import pytest

from hunyuan_runtime.gpu_fault import gpu_fault, reported_gpu_fault

ENGINE_LOG = """\
(EngineCore pid=95) ERROR 11-24 12:00:00 [core.py:387] EngineCore encountered a fatal error.
(EngineCore pid=95) ERROR 11-24 12:00:00 [core.py:387] ray.exceptions.RayTaskError(AcceleratorError): \
ray::RayWorkerWrapper.execute_method() (pid=3103, ip=10.0.0.7, actor_id=d3037d87)
(EngineCore pid=95) ERROR 11-24 12:00:00 [core.py:387] torch.AcceleratorError: CUDA error: {words}
(EngineCore pid=95) ERROR 11-24 12:00:00 [core.py:387] CUDA kernel errors might be asynchronously reported
"""
ECC = "uncorrectable ECC error encountered"


@pytest.mark.parametrize(
    "text",
    [
        f"RuntimeError: CUDA error: {ECC}\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
        f"NCCL WARN Cuda failure 214 '{ECC}'",
        "CUDA error: uncorrectable NVLink error detected during the execution",
        "CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "Error 802: system not yet initialized",
        "vllm.third_party.pynvml.NVMLError_GpuIsLost: GPU is lost",
    ],
)
def test_hardware_is_at_fault(text: str) -> None:
    assert gpu_fault(text) in text
    assert gpu_fault(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: unspecified launch failure",
        "CUDA error: device-side assert triggered",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 96.00 GiB",
        "NCCL error: remote process exited or there was a network error",
    ],
)
def test_or_may_not_be(text: str) -> None:
    assert gpu_fault(text) == ""


def test_the_rank_is_the_one_whose_error_ray_reports() -> None:
    assert reported_gpu_fault(ENGINE_LOG.format(words=ECC)) == (ECC, "10.0.0.7")
    assert reported_gpu_fault(f"CUDA error: {ECC}") == (ECC, "")
    assert reported_gpu_fault(ENGINE_LOG.format(words="unspecified launch failure")) == ("", "")
