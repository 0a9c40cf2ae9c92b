"""The init container that checks the network between the pods of a group."""

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import Network
from hunyuan_operator.build.metadata import Object

_OF_THE_RUNTIME = (
    "image",
    "imagePullPolicy",
    "env",
    "securityContext",
    "resources",
    "terminationMessagePath",
    "terminationMessagePolicy",
)
_MOUNTS = {"config", "ray-token", "tmp", "shm"}


def is_checked(network: Network, nodes: int) -> bool:
    return network.preflight.enabled and nodes > 1


def preflight(runtime: Object) -> Object:
    """What the runtime container has, but for the model: the same image, the same GPUs and RDMA devices.

    The containers run one after the other, so that the pod asks for no more by it.
    """
    return {
        "name": names.PREFLIGHT,
        "command": ["python", "-m", "hunyuan_runtime.preflight"],
        **{key: runtime[key] for key in _OF_THE_RUNTIME},
        "volumeMounts": [mount for mount in runtime["volumeMounts"] if mount["name"] in _MOUNTS],
    }
