"""The init container that fetches a model from a hub, and the volume of its token.

It alone may write to the cache and sees the hub's token; the runtime beside it mounts the same volume read-only.
"""

from hunyuan_operator.api.names import FETCH
from hunyuan_operator.api.sources import HuggingFaceSource
from hunyuan_operator.build.metadata import Object
from hunyuan_operator.build.restricted import confinement
from hunyuan_runtime.config import CONFIG_PATH, HUB_TOKEN_PATH, MODEL_ROOT, HubSource

_TOKEN_VOLUME = "hub-token"  # noqa: S105 - the volume's name


def hub_source(source: HuggingFaceSource) -> HubSource:
    return HubSource(
        endpoint=source.endpoint,
        repo=source.repo,
        revision=source.revision,
        folder=source.path.strip("/"),
        cache=str(MODEL_ROOT / source.cache.path),
    )


def fetch_container(source: HuggingFaceSource, runtime: Object) -> Object:
    """Beside ``runtime``, the pod's main container: of the same image, for the same rank."""
    mounts = [
        {"name": "config", "mountPath": str(CONFIG_PATH.parent), "readOnly": True},
        {"name": "model", "mountPath": str(MODEL_ROOT)},
    ]
    if source.token_secret:
        mounts.append({"name": _TOKEN_VOLUME, "mountPath": str(HUB_TOKEN_PATH.parent), "readOnly": True})
    return {
        "name": FETCH,
        "image": runtime["image"],
        "imagePullPolicy": runtime["imagePullPolicy"],
        "command": ["python", "-m", "hunyuan_runtime.fetch"],
        "env": [one for one in runtime["env"] if one["name"] == "HUNYUAN_RANK"],
        # Written pages count until they are on the volume; the kernel takes them back before the limit hurts.
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        **confinement(),
        "volumeMounts": mounts,
    }


def token_volumes(source: HuggingFaceSource) -> list[Object]:
    """None, or one."""
    if source.token_secret is None:
        return []
    items = [{"key": source.token_secret.key, "path": HUB_TOKEN_PATH.name}]
    secret = {"secretName": source.token_secret.name, "items": items, "defaultMode": 0o440}
    return [{"name": _TOKEN_VOLUME, "secret": secret}]
