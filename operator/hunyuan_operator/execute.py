"""Making it so: the writes by which what is there becomes what is wanted.

What has to go comes first, so that its GPUs are free whatever the API server says to the rest. Each write does nothing
when it was done before, and the first one that the API server refuses ends the pass.
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from hunyuan_operator.api import names
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.api.resource import Resource
from hunyuan_operator.build.access import token_secret
from hunyuan_operator.build.metadata import Object, kind_of, reference
from hunyuan_operator.build.wanted import Wanted
from hunyuan_operator.cluster.port import Cluster, Key
from hunyuan_operator.errors import Conflict, NotServed, Refused
from hunyuan_operator.observe.manifest import Manifest, annotation, controller_uid
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.observe.world import Children, ObjectId
from hunyuan_operator.plan.leaving import HASTE

_LEFT_OVER = {"ConfigMap", "PodDisruptionBudget"}
"""Kinds of which objects are no longer wanted at some time."""
_TAKEN = "exists, and is not this resource's: delete it, or give this resource another name"


@dataclass(frozen=True, kw_only=True)
class Changes:
    """In the order in which they are made. ``create`` are shared objects; those that exist are applied over."""

    delete: tuple[Manifest, ...] = ()
    create: tuple[Object, ...] = ()
    apply: tuple[Object, ...] = ()
    gangs: tuple[Object, ...] = ()
    """Of kinds that aren't watched: whether they are there is asked."""
    workload: tuple[Object, ...] = ()
    token: str = ""
    """Secret that the workload needs, if any."""
    leftovers: tuple[Manifest, ...] = ()
    taken: tuple[ObjectId, ...] = ()
    """Names that are needed and belong to something else."""


def changes(observed: Children, wanted: Wanted, delete: Iterable[Manifest], mounted: Container[str]) -> Changes:
    """``mounted`` are the ConfigMaps that pods mount which are there."""
    shared = {_id(manifest): manifest for manifest in wanted.shared}
    new = tuple(manifest for key, manifest in shared.items() if key not in observed.objects)
    differing = tuple(
        _at_version_of(observed.objects[key], manifest)
        for key, manifest in shared.items()
        if key in observed.objects and _applied_hash(observed.objects[key]) != _applied_hash(manifest)
    )
    return Changes(
        delete=tuple(delete),
        create=new,
        apply=differing,
        gangs=wanted.gangs,
        workload=wanted.workload,
        token=wanted.token if wanted.workload else "",
        leftovers=_leftovers(observed, shared, mounted) if shared else (),
        taken=tuple(key for key in map(_id, (*new, *wanted.workload)) if key in observed.foreign),
    )


def ending(owner: Resource, pod: Pod, *, drain: bool) -> Manifest:
    """The pod to be deleted, in its own time if it has something to do with it."""
    manifest = reference("Pod", pod.name, owner.namespace, pod.uid)
    if not drain:
        manifest["metadata"]["deletionGracePeriodSeconds"] = int(HASTE.total_seconds())
    return manifest


async def execute(changes: Changes, owner: Resource, cluster: Cluster, token: Callable[[], str]) -> Refused | None:
    """What was refused, if anything.

    Raises:
        ClusterError: any but Refused, as the port does.

    """
    try:
        for manifest in changes.delete:
            await _delete(manifest, owner, cluster)
        for kind, name in changes.taken:
            raise Refused(Reason.NAME_CONFLICT, f"{kind} {name} {_TAKEN}")
        for manifest in changes.create:
            await _create(manifest, cluster)
        for manifest in changes.apply:
            await cluster.apply(manifest)
        if changes.token:
            await _ensure_token(owner, changes.token, cluster, token)
        for manifest in changes.gangs:
            await _ensure_gang(manifest, owner, cluster)
        for manifest in changes.workload:
            await _create(manifest, cluster)
        for manifest in changes.leftovers:
            await cluster.delete(manifest)
    except Refused as refusal:
        return refusal
    return None


async def _create(manifest: Object, cluster: Cluster) -> None:
    """Own writes are seen at once, so a name that is taken is taken by something without the owner's label."""
    try:
        await cluster.create(manifest)
    except Conflict as conflict:
        kind, name = _id(manifest)
        raise Refused(Reason.NAME_CONFLICT, f"{kind} {name} {_TAKEN}") from conflict


async def _delete(manifest: Manifest, owner: Resource, cluster: Cluster) -> None:
    """Of a gang the name alone is known, not whether it is there."""
    if manifest["kind"] != names.POD_GROUP_KIND:
        await cluster.delete(manifest)
    elif (found := await cluster.find(manifest)) and controller_uid(found) == owner.uid:
        await cluster.delete(found)


async def _ensure_gang(manifest: Object, owner: Resource, cluster: Cluster) -> None:
    """A pass that was cut off may have made it before."""
    kind, name = _id(manifest)
    try:
        await cluster.create(manifest)
    except NotServed as unknown:
        raise Refused(
            Reason.GANG_UNAVAILABLE, f"spec.scheduling.gang.provider: {unknown} is not installed"
        ) from unknown
    except Conflict as conflict:
        found = await cluster.find(manifest)
        if found is None or controller_uid(found) != owner.uid:
            raise Refused(Reason.NAME_CONFLICT, f"{kind} {name} {_TAKEN}") from conflict


async def _ensure_token(owner: Resource, name: str, cluster: Cluster, token: Callable[[], str]) -> None:
    if not await cluster.has_secret(Key(kind_of(owner), owner.namespace, owner.name), name):
        await cluster.create(token_secret(owner, name, token()))


def _leftovers(observed: Children, shared: dict[ObjectId, Object], mounted: Container[str]) -> tuple[Manifest, ...]:
    """Budgets that are no longer wanted, and ConfigMaps that neither a pod mounts nor the next one will."""
    return tuple(
        manifest
        for (kind, name), manifest in observed.objects.items()
        if kind in _LEFT_OVER and name not in mounted and (kind, name) not in shared
    )


def _at_version_of(observed: Manifest, manifest: Object) -> Object:
    """To be applied to what was observed, and to nothing that was written since."""
    version = observed["metadata"]["resourceVersion"]
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}


def _id(manifest: Manifest) -> ObjectId:
    return manifest["kind"], manifest["metadata"]["name"]


def _applied_hash(manifest: Manifest) -> str:
    return annotation(manifest, names.APPLIED_HASH)
