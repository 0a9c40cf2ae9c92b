"""What a rank of vLLM on CPUs lacks once ranks are on several nodes or form a pipeline."""

from typing import Any

import torch
from vllm.distributed import get_pp_group
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
from vllm.utils.network_utils import get_ip
from vllm.v1.worker.cpu_worker import CPUWorker


class NodeAwareCpuCommunicator(CpuCommunicator):
    """Shared memory only between ranks of one address: vLLM compares names that are equal on every node."""

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        addresses = [""] * self.world_size
        torch.distributed.all_gather_object(addresses, get_ip(), group=self.device_group)
        return len(set(addresses)) == 1 and bool(super()._all_group_ranks_share_shm_group_name())


class MultiNodeCpuWorker(CPUWorker):
    """Allocates a pipeline stage's receive buffers with the model: vLLM makes them in a profile run, which eager CPU
    engines skip, and then fails on the first request.
    """

    def load_model(self, **options: Any) -> None:
        super().load_model(**options)
        runner = self.model_runner
        if not get_pp_group().is_first_rank and runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=self.model_config.dtype, device=self.device
            )
