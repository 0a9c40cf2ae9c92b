"""Whether a GPU, or what links it to others, is at fault, by the words of CUDA and of NVIDIA's driver.

PyTorch prints CUDA's words behind ``CUDA error:``, NCCL behind ``Cuda failure``. An illegal address, or an "unspecified
launch failure", can as well be the program's fault and is none of these. XIDs stand in the kernel's log, which no pod
sees; most of them come out as one of these.
"""

import re

_WORDS = (
    # cudaGetErrorString of CUDA 12.9, errors 46, 214, 220, 226 and 802
    "CUDA-capable device(s) is/are busy or unavailable",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected during the execution",
    "Invalid access of peer GPU memory over nvlink or a hardware error",
    "system not yet initialized",
    # NVML, by which vLLM looks at the GPUs (pynvml, ``_errcode_to_string``)
    "GPU is lost",
    "GPU requires restart",
)
_FAULT = re.compile("|".join(map(re.escape, _WORDS)))
_ADDRESS = re.compile(r"\bip=([0-9a-fA-F.:]+)")


def gpu_fault(text: str) -> str:
    """The words that say so; empty if there are none."""
    found = _FAULT.search(text)
    return found[0] if found else ""


def reported_gpu_fault(log: str) -> tuple[str, str]:
    """Likewise in the log of a process that hears of its ranks' errors through Ray, and the address of the rank.

    Ray heads an error with the place of its process (``pid=3103, ip=10.0.0.2``); without one the address is empty.
    """
    found = _FAULT.search(log)
    if found is None:
        return "", ""
    places = _ADDRESS.findall(log, 0, found.start())
    return found[0], places[-1] if places else ""
