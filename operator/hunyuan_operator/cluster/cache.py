"""The cluster as last seen: HunyuanDeployments, HunyuanFineTunes and their children, by owner.

Three sources fill it: watch events, the answers to the operator's own writes, and lists. They may arrive in any order,
so of two pictures of an object the one with the higher resourceVersion stays, and a picture that is not newer than the
object's removal is dropped. (Resource versions of one cluster's objects are comparable numbers since Kubernetes 1.35,
and were so in fact with every API server on etcd.)
"""

from collections import OrderedDict
from collections.abc import Container
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.cluster.port import Key
from hunyuan_operator.observe.manifest import Manifest, label

_REMEMBERED_REMOVALS = 10_000
"""A late picture of a removed object is at most as old as a request; this covers far more of them."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


_OWNER_LABELS = {names.DEPLOYMENT_KIND: names.DEPLOYMENT, names.FINE_TUNE_KIND: names.FINE_TUNE}


def key_of(manifest: Manifest) -> Key | None:
    """The resource that an object is, or belongs to by its label; None when it bears none."""
    kind, metadata = manifest["kind"], manifest["metadata"]
    if kind in _OWNER_LABELS:
        return Key(kind, metadata["namespace"], metadata["name"])
    owners = ((owner, label(manifest, name)) for owner, name in _OWNER_LABELS.items())
    return next((Key(owner, metadata["namespace"], name) for owner, name in owners if name), None)


def source_of(manifest: Manifest) -> Key | None:
    """The HunyuanFineTune whose result a HunyuanDeployment serves, if it names one."""
    if manifest["kind"] != names.DEPLOYMENT_KIND:
        return None
    name = manifest.get("spec", {}).get("model", {}).get("fineTune", {}).get("name", "")
    return Key(names.FINE_TUNE_KIND, manifest["metadata"]["namespace"], name) if name else None


def slim(manifest: Manifest) -> Manifest:
    """The object without what no reconcile reads: thousands of them stay in memory.

    Of a pod's spec the node, the mounted ConfigMaps and the init containers' names stay, of a Job's all but the pods'
    template, of a ConfigMap all but its data.
    """
    metadata: dict[str, Any] = {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}
    if _LAST_APPLIED in metadata.get("annotations", {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
    slimmed: dict[str, Any] = {k: v for k, v in manifest.items() if k not in ("data", "binaryData")}
    slimmed["metadata"] = metadata
    if manifest["kind"] == "Pod":
        spec = manifest.get("spec", {})
        maps = [volume for volume in spec.get("volumes", []) if "configMap" in volume]
        inits = [{"name": one["name"]} for one in spec.get("initContainers", [])]
        slimmed["spec"] = {"nodeName": spec.get("nodeName", ""), "volumes": maps, "initContainers": inits}
    if manifest["kind"] == "Job":
        slimmed["spec"] = {k: v for k, v in manifest.get("spec", {}).items() if k != "template"}
    return slimmed


def _version(manifest: Manifest) -> int:
    return int(manifest["metadata"]["resourceVersion"])


class Cache:
    """Methods that change it return the keys of the resources whose picture changed."""

    def __init__(self) -> None:
        self._objects: dict[Key, dict[str, Manifest]] = {}
        """By owner, then by UID."""
        self._owners: dict[str, Key] = {}
        """By UID."""
        self._dependents: dict[Key, dict[str, Key]] = {}
        """HunyuanDeployments, by the HunyuanFineTune that they name, then by UID."""
        self._removed: OrderedDict[str, int] = OrderedDict()
        """Resource version at the removal, by UID."""

    def owners(self) -> list[Key]:
        return list(self._objects)

    def resource(self, key: Key) -> Manifest | None:
        return next((one for one in self._objects.get(key, {}).values() if one["kind"] == key.kind), None)

    def children(self, key: Key) -> list[Manifest]:
        return [one for one in self._objects.get(key, {}).values() if one["kind"] != key.kind]

    def concerned(self, manifest: Manifest) -> set[Key]:
        """Whose reconcile reads the object: its owner's, and of a fine-tune those of the deployments that name it."""
        key = key_of(manifest)
        if key is None:
            return set()
        return {key, *(self.dependents(key) if manifest["kind"] == key.kind else ())}

    def dependents(self, key: Key) -> set[Key]:
        """The deployments that name this fine-tune."""
        return set(self._dependents.get(key, {}).values())

    def put(self, manifest: Manifest) -> set[Key]:
        uid, version = manifest["metadata"]["uid"], _version(manifest)
        key, before = key_of(manifest), self._owners.get(uid)
        if version <= self._removed.get(uid, -1):
            return set()
        if before is not None and version <= _version(self._objects[before][uid]):
            return set()
        changed = self._drop(uid)
        if key is not None:
            self._objects.setdefault(key, {})[uid] = slim(manifest)
            self._owners[uid] = key
            changed.add(key)
            if source := source_of(manifest):
                self._dependents.setdefault(source, {})[uid] = key
        return changed

    def remove(self, manifest: Manifest) -> set[Key]:
        """The object is gone since ``manifest``'s resource version."""
        uid, version = manifest["metadata"]["uid"], _version(manifest)
        self._removed[uid] = max(version, self._removed.get(uid, -1))
        self._removed.move_to_end(uid)
        if len(self._removed) > _REMEMBERED_REMOVALS:
            self._removed.popitem(last=False)
        before = self._owners.get(uid)
        if before is not None and _version(self._objects[before][uid]) > version:
            return set()
        return self._drop(uid)

    def discard(self, uid: str) -> set[Key]:
        """The API server has no such object any more."""
        key = self._owners.get(uid)
        return self.remove(self._objects[key][uid]) if key is not None else set()

    def retain(self, kind: str, namespace: str, uids: Container[str], version: int) -> set[Key]:
        """``uids`` is all that a list of the kind (of all namespaces if ``""``) held at ``version``.

        Others that are older are gone.
        """
        vanished = [
            one
            for key, objects in self._objects.items()
            for uid, one in objects.items()
            if one["kind"] == kind and namespace in ("", key.namespace) and uid not in uids and _version(one) <= version
        ]
        changed: set[Key] = set()
        for one in vanished:
            changed |= self.remove(one)
        return changed

    def _drop(self, uid: str) -> set[Key]:
        key = self._owners.pop(uid, None)
        if key is None:
            return set()
        if source := source_of(self._objects[key].pop(uid)):
            del self._dependents[source][uid]
        if not self._objects[key]:
            del self._objects[key]
        return {key}
