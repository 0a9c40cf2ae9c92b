"""The API's front door, and host names for ranks."""

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.build.metadata import Object, leader_selector, metadata, with_hash
from hunyuan_runtime.config import Port


def api_service(deployment: HunyuanDeployment) -> Object:
    """Spreads over the leaders that are ready, of all groups."""
    spec = {
        "type": "ClusterIP",
        "selector": leader_selector(deployment),
        "ports": [{"name": "http", "port": Port.API.value, "targetPort": "api", "protocol": "TCP"}],
    }
    return _service(deployment, deployment.name, spec)


def pods_service(deployment: HunyuanDeployment) -> Object:
    """Headless. A rank looks for its leader before either is ready, so addresses are published from the start."""
    ports = {"api": Port.API, "status": Port.STATUS, "ray": Port.RAY_GCS}
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {names.DEPLOYMENT: deployment.name},
        "ports": [
            {"name": name, "port": port.value, "targetPort": name, "protocol": "TCP"} for name, port in ports.items()
        ],
    }
    return _service(deployment, names.pods_service_name(deployment.name), spec)


def _service(deployment: HunyuanDeployment, name: str, spec: Object) -> Object:
    return with_hash({"apiVersion": "v1", "kind": "Service", "metadata": metadata(deployment, name), "spec": spec})
