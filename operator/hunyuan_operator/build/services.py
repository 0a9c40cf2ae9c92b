"""The API's front door, and host names for ranks."""

from collections.abc import Mapping

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.resource import Resource
from hunyuan_operator.build.metadata import Object, metadata, selector, with_hash
from hunyuan_runtime.config import Port


def api_service(deployment: HunyuanDeployment) -> Object:
    """Spreads over the leaders that are ready, of all groups."""
    spec = {
        "type": "ClusterIP",
        "selector": {**selector(deployment), names.ROLE: "leader"},
        "ports": [{"name": "http", "port": Port.API.value, "targetPort": "api", "protocol": "TCP"}],
    }
    return _service(deployment, deployment.name, spec)


def ranks_service(owner: Resource, name: str, ports: Mapping[str, int]) -> Object:
    """Headless. A rank looks for its leader before either is ready, so addresses are published from the start."""
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector(owner),
        "ports": [
            {"name": port, "port": number, "targetPort": port, "protocol": "TCP"} for port, number in ports.items()
        ],
    }
    return _service(owner, name, spec)


def _service(owner: Resource, name: str, spec: Object) -> Object:
    return with_hash({"apiVersion": "v1", "kind": "Service", "metadata": metadata(owner, name), "spec": spec})
