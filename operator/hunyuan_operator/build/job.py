"""One attempt of a fine-tune's stage as an Indexed Job: all its pods at once, no retries, the index is the rank.

There are no probes. A rank that hangs is found by the others, whose collective operations have a time limit; one that
saves at its end must not be disturbed.
"""

from dataclasses import dataclass

from hunyuan_operator.api import names
from hunyuan_operator.api.finetune import GPU, HunyuanFineTune
from hunyuan_operator.build.gang import Attempt, Gang, gang
from hunyuan_operator.build.metadata import Object, metadata, selector
from hunyuan_operator.build.parts import (
    RANK_TOKEN_MOUNT,
    Nodes,
    apart,
    devices,
    init_containers,
    of_gpu_nodes,
    on_nodes,
    placement,
    rank_env,
    rank_token_volume,
    resources,
    scratch_mounts,
    scratch_volumes,
    together,
)
from hunyuan_operator.build.preflight import is_checked
from hunyuan_operator.build.restricted import confinement, pod_confinement
from hunyuan_operator.build.stage_volumes import stage_volumes
from hunyuan_runtime.config import Port
from hunyuan_runtime.train_config import RENDEZVOUS_PORT, Stage

CONTAINER = "runtime"
PORTS = {"status": Port.STATUS.value, "rendezvous": RENDEZVOUS_PORT}
SAVE = 300
"""Seconds that a training which is told to end gets for a checkpoint."""
_STOP = 30
"""Seconds that other stages get: what they do is done again, or goes on where it stood."""
_LOST_NODE = 30
"""Seconds on a node that stopped answering, after the 50 that Kubernetes takes to say so."""
_ON_GPUS = {Stage.TRAIN, Stage.EVALUATE}


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Which attempt of which stage the Job is, and over how many nodes."""

    stage: Stage
    attempt: int
    nodes: int
    revision: str
    places: Nodes


@dataclass(frozen=True, kw_only=True)
class Mould:
    """What all Jobs of a fine-tune have in common."""

    fine_tune: HunyuanFineTune
    image: str
    config_map: str

    def is_checked(self, seat: Seat) -> bool:
        return is_checked(self.fine_tune.spec.network, seat.nodes)


def job(mould: Mould, seat: Seat) -> Object:
    owner = metadata(mould.fine_tune, names.job_name(mould.fine_tune.name, seat.stage, seat.attempt))
    labels = {
        **owner["labels"],
        "app.kubernetes.io/component": seat.stage.value,
        names.STAGE: seat.stage.value,
        names.ATTEMPT: str(seat.attempt),
        names.REVISION: seat.revision,
    }
    ganged = gang_of(mould, seat)
    annotations = {names.NODES: str(seat.nodes)}
    if ganged.group:
        annotations[names.GANG] = mould.fine_tune.spec.scheduling.gang.provider
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **owner,
            "labels": labels | ganged.job_labels,
            "annotations": {**annotations, names.CONFIG: mould.config_map},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": seat.nodes,
            "parallelism": seat.nodes,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": labels | ganged.labels, "annotations": annotations | ganged.annotations},
                "spec": _pod(mould, seat, ganged),
            },
        },
    }


def gang_of(mould: Mould, seat: Seat) -> Gang:
    fine_tune = mould.fine_tune
    name = names.job_name(fine_tune.name, seat.stage, seat.attempt)
    scheduling = fine_tune.spec.scheduling
    return gang(Attempt(owner=fine_tune, name=name, nodes=seat.nodes, scheduling=scheduling, by_job=True))


def _pod(mould: Mould, seat: Seat, ganged: Gang) -> Object:
    fine_tune = mould.fine_tune
    volumes = stage_volumes(fine_tune.spec, mould.config_map)
    checked = mould.is_checked(seat)
    token = [rank_token_volume(token_secret(fine_tune))] if checked else []
    container = _container(mould, seat, [*volumes.mounts, *([RANK_TOKEN_MOUNT] if checked else []), *scratch_mounts()])
    spec: Object = {
        "subdomain": names.ranks_service_name(fine_tune.name),
        "terminationGracePeriodSeconds": SAVE if seat.stage is Stage.TRAIN else _STOP,
        "serviceAccountName": names.fine_tune_account_name(fine_tune.name),
        **pod_confinement(),
        "containers": [container],
        "volumes": [*volumes.volumes, *token, *scratch_volumes(fine_tune.spec.runtime)],
        "tolerations": [*_lost_nodes(), *([of_gpu_nodes(GPU)] if seat.stage in _ON_GPUS else [])],
        **placement(fine_tune.spec.scheduling),
        **ganged.pod_spec,
    }
    if inits := init_containers(fine_tune.spec.model, fine_tune.spec.network, seat.nodes, container):
        spec["initContainers"] = inits
    if affinity := _affinity(mould, seat, packed=ganged.packs):
        spec["affinity"] = affinity
    return spec


def _affinity(mould: Mould, seat: Seat, *, packed: bool) -> Object:
    scheduling = mould.fine_tune.spec.scheduling
    result = on_nodes(scheduling.gpu_products if seat.stage in _ON_GPUS else (), seat.places)
    if seat.nodes > 1:
        seats = {names.STAGE: seat.stage.value, names.ATTEMPT: str(seat.attempt)}
        members = selector(mould.fine_tune) | seats
        result |= together("" if packed else scheduling.topology_key, members) | apart(members)
    return result


def _container(mould: Mould, seat: Seat, mounts: list[Object]) -> Object:
    spec = mould.fine_tune.spec
    rdma = spec.network.rdma if seat.nodes > 1 else None
    index = {"fieldPath": f"metadata.annotations['{names.COMPLETION_INDEX}']"}
    return {
        "name": CONTAINER,
        "image": mould.image,
        "imagePullPolicy": spec.runtime.image_pull_policy,
        "command": ["python", "-m", "hunyuan_runtime.train", seat.stage.value],
        "env": rank_env({"valueFrom": {"fieldRef": index}}, _host_names(mould, seat)),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in PORTS.items()],
        "resources": resources(spec.runtime, devices(GPU, spec.gpus_per_node, rdma) if seat.stage in _ON_GPUS else {}),
        **confinement(),
        "volumeMounts": mounts,
    }


def token_secret(fine_tune: HunyuanFineTune) -> str:
    """Apart from that of a deployment of the same name."""
    return names.token_secret_name(names.fine_tune_account_name(fine_tune.name))


def _host_names(mould: Mould, seat: Seat) -> list[str]:
    """Of all ranks, as Kubernetes names an Indexed Job's pods."""
    name = names.job_name(mould.fine_tune.name, seat.stage, seat.attempt)
    service = names.ranks_service_name(mould.fine_tune.name)
    return [f"{name}-{rank}.{service}" for rank in range(seat.nodes)]


def _lost_nodes() -> list[Object]:
    return [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": _LOST_NODE,
        }
        for state in ("not-ready", "unreachable")
    ]
