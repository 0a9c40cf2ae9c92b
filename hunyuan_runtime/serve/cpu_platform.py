"""vLLM's platform for CPUs on several nodes: like its own, with what Ray and pods need.

Imported while vLLM resolves its platform, so it imports nothing that asks for the platform.
"""

from typing import Any

from vllm.platforms.cpu import CpuPlatform


class MultiNodeCpuPlatform(CpuPlatform):
    """Workers stand on declared ``GPU`` resources of Ray, so that CPU tests take the paths of GPU clusters."""

    ray_device_key = "GPU"

    @classmethod
    def check_and_update_config(cls, vllm_config: Any) -> None:
        if vllm_config.parallel_config.worker_cls == "auto":
            vllm_config.parallel_config.worker_cls = "hunyuan_runtime.serve.cpu_worker.MultiNodeCpuWorker"
        super().check_and_update_config(vllm_config)

    @classmethod
    def device_control_id_to_physical_device_id(cls, device_id: str) -> int:
        """Ray's number of a declared device stands for no core: it only has to be a number."""
        return int(device_id)

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        return "hunyuan_runtime.serve.cpu_worker.NodeAwareCpuCommunicator"
