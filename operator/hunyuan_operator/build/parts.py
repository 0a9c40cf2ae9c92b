"""Parts that the pods of both kinds of resource are built from."""

from collections.abc import Sequence
from dataclasses import dataclass

from hunyuan_operator.api.sources import BaseModelSource, ImageSource
from hunyuan_operator.api.status import RestartMemory
from hunyuan_operator.api.workload import Network, Rdma, Runtime, Scheduling
from hunyuan_operator.build.fetch import fetch_container
from hunyuan_operator.build.metadata import Object
from hunyuan_operator.build.preflight import is_checked, preflight
from hunyuan_runtime.config import CONFIG_PATH, MODEL_ROOT, RAY_TOKEN_PATH

CONFIG_MOUNT: Object = {"name": "config", "mountPath": str(CONFIG_PATH.parent), "readOnly": True}
MODEL_MOUNT: Object = {"name": "model", "mountPath": str(MODEL_ROOT), "readOnly": True}
GPU_PRODUCT = "nvidia.com/gpu.product"
"""Label of NVIDIA's GPU feature discovery."""
CLAIM = "gpus"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
RANK_TOKEN_MOUNT: Object = {"name": "ray-token", "mountPath": str(RAY_TOKEN_PATH.parent), "readOnly": True}


def rank_env(rank: Object, peers: list[str]) -> list[Object]:
    """What :class:`hunyuan_runtime.config.Rank` reads. ``rank`` is its value, or where that comes from."""
    return [
        {"name": "HUNYUAN_RANK", **rank},
        {"name": "HUNYUAN_LEADER", "value": peers[0]},
        {"name": "HUNYUAN_PEERS", "value": ",".join(peers)},
        {"name": "HUNYUAN_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "HUNYUAN_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]


def resources(runtime: Runtime, devices: dict[str, str]) -> Object:
    return {
        "requests": {"cpu": runtime.cpu, "memory": runtime.memory, **devices},
        "limits": {"memory": runtime.memory, **devices},
    }


def devices(gpu: str, count: int, rdma: Rdma | None) -> dict[str, str]:
    return {gpu: str(count)} | rdma_devices(rdma)


def rdma_devices(rdma: Rdma | None) -> dict[str, str]:
    return {rdma.resource: str(rdma.count)} if rdma else {}


def init_containers(model: BaseModelSource, network: Network, nodes: int, runtime: Object) -> list[Object]:
    """In the order in which they run: a network that fails is known before the model is fetched."""
    checks = [preflight(runtime)] if is_checked(network, nodes) else []
    return checks + ([fetch_container(model.hugging_face, runtime)] if model.hugging_face else [])


def placement(scheduling: Scheduling) -> Object:
    spec: Object = {}
    if scheduling.node_selector:
        spec["nodeSelector"] = dict(scheduling.node_selector)
    if scheduling.priority_class_name:
        spec["priorityClassName"] = scheduling.priority_class_name
    return spec


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """By name, which their host name label need not be."""

    avoid: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()

    @classmethod
    def of(cls, memory: RestartMemory) -> "Nodes":
        return cls(avoid=tuple(one.name for one in memory.avoid_nodes), prefer=tuple(memory.prefer_nodes))


def on_nodes(gpu_products: Sequence[str], nodes: Nodes) -> Object:
    """Affinity to nodes with the GPUs that will do. Kubernetes takes one name a requirement, and one a preference."""
    required: Object = {}
    if gpu_products:
        required["matchExpressions"] = [{"key": GPU_PRODUCT, "operator": "In", "values": list(gpu_products)}]
    if nodes.avoid:
        required["matchFields"] = [_named("NotIn", name) for name in nodes.avoid]
    affinity: Object = {_REQUIRED: {"nodeSelectorTerms": [required]}} if required else {}
    if nodes.prefer:
        terms = [{"weight": 100, "preference": {"matchFields": [_named("In", name)]}} for name in nodes.prefer]
        affinity[_PREFERRED] = terms
    return {"nodeAffinity": affinity} if affinity else {}


def _named(operator: str, node: str) -> Object:
    return {"key": "metadata.name", "operator": operator, "values": [node]}


def together(topology_key: str, members: dict[str, str]) -> Object:
    """All pods of an attempt in one domain of the topology: the one of the first that gets a node."""
    return {"podAffinity": {_REQUIRED: [_term(topology_key, members)]}} if topology_key else {}


def apart(members: dict[str, str]) -> Object:
    """One pod of an attempt a node. Pods of the attempt before may still be there while they go, and don't count."""
    return {"podAntiAffinity": {_REQUIRED: [_term("kubernetes.io/hostname", members)]}}


def _term(topology_key: str, members: dict[str, str]) -> Object:
    return {"topologyKey": topology_key, "labelSelector": {"matchLabels": members}}


def claimed(template: str) -> Object:
    """Fields of a pod whose devices come by Dynamic Resource Allocation."""
    return {"resourceClaims": [{"name": CLAIM, "resourceClaimTemplateName": template}]}


def of_gpu_nodes(gpu: str) -> Object:
    """Toleration: nodes with GPUs are often tainted by the name of the resource, to keep other pods away."""
    return {"key": gpu, "operator": "Exists", "effect": "NoSchedule"}


def image_volume(source: ImageSource, pull_policy: str) -> Object:
    return {"name": "model", "image": {"reference": source.reference, "pullPolicy": pull_policy}}


def rank_token_volume(secret: str) -> Object:
    return {"name": RANK_TOKEN_MOUNT["name"], "secret": {"secretName": secret, "defaultMode": 0o440}}


def scratch_volumes(runtime: Runtime) -> list[Object]:
    return [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": runtime.shared_memory}},
    ]


def scratch_mounts() -> list[Object]:
    """All that a container may write to, beside the volumes that it is for."""
    return [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod's own
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
    ]
