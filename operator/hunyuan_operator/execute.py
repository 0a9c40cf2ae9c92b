"""Making it so: the writes by which what is there becomes what is wanted.

Pods that have to go come first, so that their GPUs are free whatever the API server says to the rest. Each write does
nothing when it was done before, and the first one that the API server refuses ends the pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.build.access import token_secret
from hunyuan_operator.build.deployment import Wanted
from hunyuan_operator.build.metadata import Object
from hunyuan_operator.cluster.port import Cluster, Key
from hunyuan_operator.errors import Conflict, Refused
from hunyuan_operator.observe.manifest import Manifest, annotation
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.observe.world import ObjectId, Observed
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.plan.groups import GroupPlan

HASTE = 30
"""Seconds that a rank gets whose group can't answer any more. On a lost node they pass before its place is free."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """In the order in which they are made. ``create`` are shared objects; those that exist are applied over."""

    delete: tuple[Manifest, ...] = ()
    create: tuple[Object, ...] = ()
    apply: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    leftovers: tuple[Manifest, ...] = ()
    taken: tuple[ObjectId, ...] = ()
    """Names that are needed and belong to something else."""


def reference(kind: str, name: str, namespace: str, uid: str) -> Manifest:
    """Enough of an object to delete it, or to read its log."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace, "uid": uid}}


def changes(deployment: HunyuanDeployment, plan: DeploymentPlan, observed: Observed, wanted: Wanted) -> Changes:
    shared = {_id(manifest): manifest for manifest in wanted.shared}
    new = tuple(manifest for key, manifest in shared.items() if key not in observed.objects)
    differing = tuple(
        manifest
        for key, manifest in shared.items()
        if key in observed.objects and _applied_hash(observed.objects[key]) != _applied_hash(manifest)
    )
    return Changes(
        delete=tuple(_ending(deployment, group, pod) for group in plan.groups for pod in group.delete),
        create=new,
        apply=differing,
        pods=wanted.pods,
        leftovers=_leftovers(observed, shared) if shared else (),
        taken=tuple(key for key in map(_id, (*new, *wanted.pods)) if key in observed.foreign),
    )


def _ending(deployment: HunyuanDeployment, group: GroupPlan, pod: Pod) -> Manifest:
    manifest = reference("Pod", pod.name, deployment.namespace, pod.uid)
    if not group.drain:
        manifest["metadata"]["deletionGracePeriodSeconds"] = HASTE
    return manifest


async def execute(
    changes: Changes, deployment: HunyuanDeployment, cluster: Cluster, token: Callable[[], str]
) -> Refused | None:
    """What was refused, if anything.

    Raises:
        ClusterError: any but Refused, as the port does.

    """
    try:
        for manifest in changes.delete:
            await cluster.delete(manifest)
        for kind, name in changes.taken:
            raise Refused(Reason.NAME_CONFLICT, f"{kind} {name} belongs to something else")
        for manifest in changes.create:
            await _create(manifest, cluster)
        for manifest in changes.apply:
            await cluster.apply(manifest)
        if changes.pods:
            await _ensure_token(deployment, cluster, token)
        for manifest in changes.pods:
            await _create(manifest, cluster)
        for manifest in changes.leftovers:
            await cluster.delete(manifest)
    except Refused as refusal:
        return refusal
    return None


async def _create(manifest: Object, cluster: Cluster) -> None:
    """Own writes are seen at once, so a name that is taken is taken by something without the deployment's label."""
    try:
        await cluster.create(manifest)
    except Conflict as conflict:
        kind, name = _id(manifest)
        raise Refused(Reason.NAME_CONFLICT, f"{kind} {name} exists, and is not this deployment's") from conflict


async def _ensure_token(deployment: HunyuanDeployment, cluster: Cluster, token: Callable[[], str]) -> None:
    key = Key(names.DEPLOYMENT_KIND, deployment.namespace, deployment.name)
    if not await cluster.has_secret(key, names.token_secret_name(deployment.name)):
        await cluster.create(token_secret(deployment, token()))


def _leftovers(observed: Observed, shared: dict[ObjectId, Object]) -> tuple[Manifest, ...]:
    """ConfigMaps of configurations that neither a pod mounts nor the next one will."""
    mounted = {pod.config for pod in observed.pods}
    return tuple(
        manifest
        for (kind, name), manifest in observed.objects.items()
        if kind == "ConfigMap" and name not in mounted and (kind, name) not in shared
    )


def _id(manifest: Manifest) -> ObjectId:
    return manifest["kind"], manifest["metadata"]["name"]


def _applied_hash(manifest: Manifest) -> str:
    return annotation(manifest, names.APPLIED_HASH)
