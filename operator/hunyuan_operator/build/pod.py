"""One rank of a group as a Pod that satisfies Pod Security "restricted"."""

from dataclasses import dataclass

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment, HunyuanDeploymentSpec
from hunyuan_operator.build.fetch import fetch_container, fetch_volumes
from hunyuan_operator.build.metadata import Object, metadata
from hunyuan_operator.build.preflight import is_checked, preflight
from hunyuan_operator.build.restricted import confinement, pod_security
from hunyuan_operator.plan.topology import Topology
from hunyuan_runtime.config import CONFIG_PATH, MODEL_ROOT, RAY_TOKEN_PATH, Port

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
    deployment, scheduling = mould.deployment, mould.deployment.spec.scheduling
    name = names.pod_name(deployment.name, seat.group, seat.attempt, seat.rank)
    container = _container(mould, seat)
    spec: Object = {
        "hostname": name,
        "subdomain": names.pods_service_name(deployment.name),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": DRAIN,
        "serviceAccountName": deployment.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": _volumes(mould),
        # Nodes with GPUs are often tainted by the name of the resource, to keep other pods away.
        "tolerations": [
            {"key": deployment.spec.gpus.resource_name, "operator": "Exists", "effect": "NoSchedule"},
        ],
    }
    if scheduling.node_selector:
        spec["nodeSelector"] = dict(scheduling.node_selector)
    if scheduling.priority_class_name:
        spec["priorityClassName"] = scheduling.priority_class_name
    if inits := _init_containers(mould, seat, container):
        spec["initContainers"] = inits
    if mould.topology.nodes > 1:
        spec["affinity"] = _apart(deployment, seat)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(mould, seat, name), "spec": spec}


def _init_containers(mould: Mould, seat: Seat, container: Object) -> list[Object]:
    """In the order in which they run: a network that fails is known before the model is fetched."""
    spec = mould.deployment.spec
    checked, hub = is_checked(spec.network, mould.topology.nodes), spec.model.hugging_face
    check = [preflight(container)] if checked else []
    return check + ([fetch_container(hub, mould.image, spec.runtime.image_pull_policy, seat.rank)] if hub else [])


def _metadata(mould: Mould, seat: Seat, name: str) -> Object:
    common = metadata(mould.deployment, name)
    own = {
        "app.kubernetes.io/component": seat.role,
        names.GROUP_INDEX: str(seat.group),
        names.ATTEMPT: str(seat.attempt),
        names.RANK: str(seat.rank),
        names.ROLE: seat.role,
        names.REVISION: seat.revision,
    }
    return {**common, "labels": {**common["labels"], **own}, "annotations": {names.NODES: str(mould.topology.nodes)}}


def _apart(deployment: HunyuanDeployment, seat: Seat) -> Object:
    """One pod of an attempt a node. Pods of the attempt before may still be there while they go, and don't count."""
    match = {
        names.DEPLOYMENT: deployment.name,
        names.GROUP_INDEX: str(seat.group),
        names.ATTEMPT: str(seat.attempt),
    }
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": match}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _container(mould: Mould, seat: Seat) -> Object:
    runtime = mould.deployment.spec.runtime
    peers = _host_names(mould, seat)
    devices = _devices(mould)
    return {
        "name": CONTAINER,
        "image": mould.image,
        "imagePullPolicy": runtime.image_pull_policy,
        "command": ["python", "-m", "hunyuan_runtime.serve"],
        "env": [
            {"name": "HUNYUAN_RANK", "value": str(seat.rank)},
            {"name": "HUNYUAN_LEADER", "value": peers[0]},
            {"name": "HUNYUAN_PEERS", "value": ",".join(peers)},
            {"name": "HUNYUAN_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HUNYUAN_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "ports": _ports(),
        **_probes(),
        "resources": {
            "requests": {"cpu": runtime.cpu, "memory": runtime.memory, **devices},
            "limits": {"memory": runtime.memory, **devices},
        },
        **confinement(),
        "volumeMounts": [
            {"name": "config", "mountPath": str(CONFIG_PATH.parent), "readOnly": True},
            {"name": "ray-token", "mountPath": str(RAY_TOKEN_PATH.parent), "readOnly": True},
            {"name": "model", "mountPath": str(MODEL_ROOT), "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }


def _host_names(mould: Mould, seat: Seat) -> list[str]:
    """Of all ranks of the attempt, by rank."""
    service = names.pods_service_name(mould.deployment.name)
    pods = (
        names.pod_name(mould.deployment.name, seat.group, seat.attempt, rank) for rank in range(mould.topology.nodes)
    )
    return [f"{pod}.{service}" for pod in pods]


def _devices(mould: Mould) -> dict[str, str]:
    gpus, rdma = mould.deployment.spec.gpus, mould.deployment.spec.network.rdma
    return {gpus.resource_name: str(mould.topology.gpus_per_node)} | ({rdma.resource: str(rdma.count)} if rdma else {})


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
    token = {"secretName": names.token_secret_name(mould.deployment.name), "defaultMode": 0o440}
    return [
        {"name": "config", "configMap": {"name": mould.config_map}},
        {"name": "ray-token", "secret": token},
        *_model_volumes(spec),
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": spec.runtime.shared_memory}},
    ]


def _model_volumes(spec: HunyuanDeploymentSpec) -> list[Object]:
    if spec.model.hugging_face:
        return fetch_volumes(spec.model.hugging_face)
    model: Object = {"name": "model"}
    if spec.model.pvc:
        model["persistentVolumeClaim"] = {"claimName": spec.model.pvc.claim_name, "readOnly": True}
    elif spec.model.image:
        model["image"] = {"reference": spec.model.image.reference, "pullPolicy": spec.runtime.image_pull_policy}
    return [model]
