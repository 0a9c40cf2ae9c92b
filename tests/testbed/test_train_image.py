"""The training image in a pod of no rights, with a root that is read-only.

What DeepSpeed would compile there is in the image, and a compiler isn't.
"""

import json

import pytest

from tests import cluster as testbed
from tests import stack

pytestmark = pytest.mark.cluster

NAMESPACE = "train-image-test"
_USE = """
import json, os, shutil
import deepspeed, peft, torch, transformers
from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam

os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
deepspeed.init_distributed("gloo")

def step(optimizer):
    weight = torch.nn.Parameter(torch.ones(1000))
    weight.grad = torch.ones_like(weight)
    optimizer([weight], lr=0.5).step()
    return round(weight[999].item(), 4)

print(json.dumps({
    "user": os.getuid(),
    "compilers": [name for name in ("cc", "gcc", "c++", "g++", "clang", "nvcc") if shutil.which(name)],
    "after a step": [step(FusedAdam), step(DeepSpeedCPUAdam)],
    "loaded": sorted(deepspeed.ops.op_builder.builder.OpBuilder._loaded_ops),
}))
"""


def test_deepspeeds_operations_are_there_without_a_compiler() -> None:
    cluster = testbed.up(nodes=1)
    cluster.provide_train_image()
    stack.create_namespace(cluster, NAMESPACE)
    output = stack.run_in_pod(cluster, ["python", "-c", _USE], NAMESPACE, cluster.images.train)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    used = json.loads(output.splitlines()[-1])
    assert used == {
        "user": 10001,
        "compilers": [],
        "loaded": ["cpu_adam", "deepspeed_shm_comm", "fused_adam"],
        "after a step": [0.5, 0.5],
    }
