"""What every object has in common: labels, owner, and the hash of what was applied."""

import hashlib
import json
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment

Object = dict[str, Any]


def labels(deployment: HunyuanDeployment) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "hunyuan",
        "app.kubernetes.io/instance": deployment.name,
        "app.kubernetes.io/managed-by": names.FIELD_MANAGER,
        names.DEPLOYMENT: deployment.name,
    }


def leader_selector(deployment: HunyuanDeployment) -> dict[str, str]:
    return {names.DEPLOYMENT: deployment.name, names.ROLE: "leader"}


def metadata(deployment: HunyuanDeployment, name: str) -> Object:
    """The owner deletes its children with itself; blocking its deletion lets a foreground deletion wait for them."""
    owner = {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "HunyuanDeployment",
        "name": deployment.name,
        "uid": deployment.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": name, "namespace": deployment.namespace, "labels": labels(deployment), "ownerReferences": [owner]}


def with_hash(manifest: Object) -> Object:
    """The same object with the annotation that tells later whether anything would change by applying it again."""
    digest = digest_of(json.dumps(manifest, sort_keys=True))
    annotations = {**manifest["metadata"].get("annotations", {}), names.APPLIED_HASH: digest}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
