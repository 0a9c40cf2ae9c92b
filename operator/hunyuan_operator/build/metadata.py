"""What every object has in common: labels, owner, and the hash of what was applied."""

import hashlib
import json
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.api.resource import Resource
from hunyuan_runtime.config import CONFIG_PATH

Object = dict[str, Any]
_OWNER_LABELS = {names.DEPLOYMENT_KIND: names.DEPLOYMENT, names.FINE_TUNE_KIND: names.FINE_TUNE}


def labels(owner: Resource) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "hunyuan",
        "app.kubernetes.io/instance": owner.name,
        names.MANAGED_BY: names.FIELD_MANAGER,
        **selector(owner),
    }


def selector(owner: Resource) -> dict[str, str]:
    """Of all that belongs to it."""
    return {_OWNER_LABELS[kind_of(owner)]: owner.name}


def metadata(owner: Resource, name: str) -> Object:
    return {"name": name, "namespace": owner.namespace, "labels": labels(owner), "ownerReferences": [_owned_by(owner)]}


def _owned_by(owner: Resource) -> Object:
    """The owner deletes its children with itself; blocking its deletion lets a foreground deletion wait for them."""
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": kind_of(owner),
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def adopted(owner: Resource, name: str, uid: str) -> Object:
    """A pod's new owner, to be applied to exactly that pod."""
    manifest = reference("Pod", name, owner.namespace, uid)
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [_owned_by(owner)]}}


def config_map(owner: Resource, name: str, text: str) -> Object:
    """``name`` names the content, and it is immutable: a running pod's file never changes under it."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(owner, name),
            "immutable": True,
            "data": {CONFIG_PATH.name: text},
        }
    )


def kind_of(owner: Resource) -> str:
    return type(owner).__name__


def reference(kind: str, name: str, namespace: str, uid: str) -> Object:
    """Enough of an object to delete it, or to read its log."""
    version = "batch/v1" if kind == "Job" else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace, "uid": uid}}


def with_hash(manifest: Object) -> Object:
    """The same object with the annotation that tells later whether anything would change by applying it again."""
    digest = digest_of(json.dumps(manifest, sort_keys=True))
    annotations = {**manifest["metadata"].get("annotations", {}), names.APPLIED_HASH: digest}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
