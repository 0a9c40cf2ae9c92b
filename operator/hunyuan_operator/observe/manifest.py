"""Reading the API's JSON."""

from collections.abc import Mapping
from typing import Any

Manifest = Mapping[str, Any]


def condition(manifest: Manifest, kind: str) -> Manifest | None:
    found: list[Manifest] = manifest.get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == kind), None)


def is_true(manifest: Manifest, kind: str) -> bool:
    found = condition(manifest, kind)
    return found is not None and found["status"] == "True"


def controller(manifest: Manifest) -> Manifest:
    """The reference to the owner that controls the object; empty when it has none."""
    owners: list[Manifest] = manifest["metadata"].get("ownerReferences", [])
    return next((owner for owner in owners if owner.get("controller")), {})


def controller_uid(manifest: Manifest) -> str:
    """Of the owner that controls the object; empty when it has none."""
    return str(controller(manifest).get("uid", ""))


def container_statuses(pod: Manifest) -> list[Manifest]:
    """Of all containers, in the order in which they run."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def label(manifest: Manifest, name: str) -> str:
    return str(manifest["metadata"].get("labels", {}).get(name, ""))


def annotation(manifest: Manifest, name: str) -> str:
    return str(manifest["metadata"].get("annotations", {}).get(name, ""))
