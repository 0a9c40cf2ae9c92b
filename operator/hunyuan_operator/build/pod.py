"""One rank of a group as a Pod that satisfies Pod Security "restricted"."""

from dataclasses import dataclass

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment, HunyuanDeploymentSpec
from hunyuan_operator.build.fetch import token_volumes
from hunyuan_operator.build.gang import Attempt, Gang, gang
from hunyuan_operator.build.metadata import Object, metadata, selector
from hunyuan_operator.build.parts import (
    CLAIM,
    CONFIG_MOUNT,
    MODEL_MOUNT,
    RANK_TOKEN_MOUNT,
    Nodes,
    apart,
    claimed,
    devices,
    image_volume,
    init_containers,
    of_gpu_nodes,
    on_nodes,
    placement,
    rank_env,
    rank_token_volume,
    rdma_devices,
    resources,
    scratch_mounts,
    scratch_volumes,
    together,
)
from hunyuan_operator.build.restricted import confinement, pod_confinement
from hunyuan_operator.plan.topology import Topology
from hunyuan_runtime.config import Port

CONTAINER = "runtime"
DRAIN = 600
"""Seconds that running requests get at most: 10,000 tokens at 20 a second. A rank goes as soon as none runs."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Which rank of which attempt the pod is."""

    group: int
    attempt: int
    rank: int
    revision: str
    nodes: Nodes

    @property
    def role(self) -> str:
        return "worker" if self.rank else "leader"


@dataclass(frozen=True, kw_only=True)
class Mould:
    """What all pods of a revision have in common."""

    deployment: HunyuanDeployment
    topology: Topology
    image: str
    config_map: str


def pod(mould: Mould, seat: Seat) -> Object:
    deployment = mould.deployment
    scheduling, ganged = deployment.spec.scheduling, gang_of(mould, seat)
    name = names.pod_name(deployment.name, seat.group, seat.attempt, seat.rank)
    container = _container(mould, seat)
    spec: Object = {
        "hostname": name,
        "subdomain": names.pods_service_name(deployment.name),
        "terminationGracePeriodSeconds": DRAIN,
        "serviceAccountName": deployment.name,
        **pod_confinement(),
        "containers": [container],
        "volumes": _volumes(mould),
        "tolerations": [of_gpu_nodes(deployment.spec.gpus.resource_name)],
        **placement(scheduling),
        **ganged.pod_spec,
    }
    if template := deployment.spec.gpus.resource_claim_template:
        spec |= claimed(template)
    if inits := init_containers(deployment.spec.model, deployment.spec.network, mould.topology.nodes, container):
        spec["initContainers"] = inits
    if affinity := _affinity(mould, seat, packed=ganged.packs):
        spec["affinity"] = affinity
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(mould, seat, name, ganged), "spec": spec}


def gang_of(mould: Mould, seat: Seat) -> Gang:
    deployment = mould.deployment
    return gang(
        Attempt(
            owner=deployment,
            name=names.gang_name(deployment.name, seat.group, seat.attempt),
            nodes=mould.topology.nodes,
            scheduling=deployment.spec.scheduling,
        )
    )


def _affinity(mould: Mould, seat: Seat, *, packed: bool) -> Object:
    scheduling = mould.deployment.spec.scheduling
    result = on_nodes(scheduling.gpu_products, seat.nodes)
    if mould.topology.nodes > 1:
        seats = {names.GROUP_INDEX: str(seat.group), names.ATTEMPT: str(seat.attempt)}
        members = selector(mould.deployment) | seats
        result |= together("" if packed else scheduling.topology_key, members) | apart(members)
    return result


def _metadata(mould: Mould, seat: Seat, name: str, ganged: Gang) -> Object:
    common = metadata(mould.deployment, name)
    own = {
        "app.kubernetes.io/component": seat.role,
        names.GROUP_INDEX: str(seat.group),
        names.ATTEMPT: str(seat.attempt),
        names.RANK: str(seat.rank),
        names.ROLE: seat.role,
        names.REVISION: seat.revision,
    }
    annotations = {names.NODES: str(mould.topology.nodes), **ganged.annotations}
    if ganged.group:
        annotations[names.GANG] = mould.deployment.spec.scheduling.gang.provider
    return {**common, "labels": {**common["labels"], **own, **ganged.labels}, "annotations": annotations}


def _container(mould: Mould, seat: Seat) -> Object:
    runtime = mould.deployment.spec.runtime
    return {
        "name": CONTAINER,
        "image": mould.image,
        "imagePullPolicy": runtime.image_pull_policy,
        "command": ["python", "-m", "hunyuan_runtime.serve"],
        "env": rank_env({"value": str(seat.rank)}, _host_names(mould, seat)),
        "ports": _ports(),
        **_probes(),
        "resources": _resources(mould),
        **confinement(),
        "volumeMounts": [
            CONFIG_MOUNT,
            RANK_TOKEN_MOUNT,
            MODEL_MOUNT,
            *scratch_mounts(),
        ],
    }


def _host_names(mould: Mould, seat: Seat) -> list[str]:
    """Of all ranks of the attempt, by rank."""
    service = names.pods_service_name(mould.deployment.name)
    pods = (
        names.pod_name(mould.deployment.name, seat.group, seat.attempt, rank) for rank in range(mould.topology.nodes)
    )
    return [f"{pod}.{service}" for pod in pods]


def _resources(mould: Mould) -> Object:
    """GPUs are counted, or claimed."""
    spec = mould.deployment.spec
    if spec.gpus.resource_claim_template:
        return {**resources(spec.runtime, rdma_devices(spec.network.rdma)), "claims": [{"name": CLAIM}]}
    return resources(spec.runtime, devices(spec.gpus.resource_name, mould.topology.gpus_per_node, spec.network.rdma))


def _ports() -> list[Object]:
    named = {"api": Port.API, "status": Port.STATUS, "ray": Port.RAY_GCS}
    return [{"name": name, "containerPort": port.value, "protocol": "TCP"} for name, port in named.items()]


def _probes() -> Object:
    """Liveness covers the status server only, which answers from the first second: a model may take an hour to load."""
    live = {"httpGet": {"path": "/livez", "port": "status"}, "timeoutSeconds": 5}
    return {
        "startupProbe": {**live, "periodSeconds": 2, "failureThreshold": 150},
        "livenessProbe": {**live, "periodSeconds": 10, "failureThreshold": 12},
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "status"},
            "timeoutSeconds": 5,
            "periodSeconds": 2,
            "failureThreshold": 2,
        },
    }


def _volumes(mould: Mould) -> list[Object]:
    spec = mould.deployment.spec
    return [
        {"name": "config", "configMap": {"name": mould.config_map}},
        rank_token_volume(names.token_secret_name(mould.deployment.name)),
        *_model_volumes(spec),
        *scratch_volumes(spec.runtime),
    ]


def _model_volumes(spec: HunyuanDeploymentSpec) -> list[Object]:
    model = spec.model
    if model.hugging_face:
        cache = {"claimName": model.hugging_face.cache.claim_name}
        return [{"name": "model", "persistentVolumeClaim": cache}, *token_volumes(model.hugging_face)]
    if model.image:
        return [image_volume(model.image, spec.runtime.image_pull_policy)]
    claim = {"claimName": model.pvc.claim_name, "readOnly": True} if model.pvc else {}
    return [{"name": "model", "persistentVolumeClaim": claim}]
