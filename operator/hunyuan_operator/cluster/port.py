"""What a reconcile may ask of the cluster and do to it; :mod:`hunyuan_operator.cluster.kube` does it over HTTP.

Reads come from watch caches unless said otherwise, and show this process's own writes at once: an answer of the API
server goes into the cache before the method returns. Every method may raise an error of :mod:`hunyuan_operator.errors`.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from hunyuan_operator.api.reasons import EventReason
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_runtime.config import RuntimeStatus
from hunyuan_runtime.train_config import TrainStatus


@dataclass(frozen=True, order=True)
class Key:
    """Names one resource; ``kind`` is :data:`names.DEPLOYMENT_KIND` or :data:`names.FINE_TUNE_KIND`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Event:
    """An Event about a resource; ``note`` is cut to 1,024 characters, as the API asks."""

    reason: EventReason
    note: str
    type: Literal["Normal", "Warning"] = "Normal"


class Cluster(Protocol):
    def resource(self, key: Key) -> Manifest | None:
        """The resource as last seen by the watch; None when it is gone."""

    def children(self, key: Key) -> list[Manifest]:
        """What bears the resource's label, of all kinds that are watched, each with its ``kind``."""

    async def has_secret(self, key: Key, name: str) -> bool:
        """Asks the API server: Secrets are never listed nor watched."""

    async def apply(self, manifest: Manifest) -> None:
        """Server-side apply, forced, as the one field manager. Raises Conflict if its ``resourceVersion`` is old."""

    async def create(self, manifest: Manifest) -> None:
        """For pods, Secrets, and all else at first: apply would take over another owner's object of that name.

        Raises Conflict when the name is taken, NotServed when the kind is not installed.
        """

    async def find(self, manifest: Manifest) -> Manifest | None:
        """Asks the API server for the object of that name; None also when it doesn't know the kind."""

    async def delete(self, manifest: Manifest) -> None:
        """Delete exactly this object: ``apiVersion``, ``kind`` and metadata's namespace, name and UID name it.

        A ``deletionGracePeriodSeconds`` in its metadata replaces the pod's own. No error when it is gone already. What
        it owns goes after it, as a Job's pods do.
        """

    async def patch_status(self, resource: Manifest, status: Manifest) -> Manifest:
        """Replace the fields of ``status`` that the operator owns by server-side apply; returns the resource with it.

        Raises Conflict when the resource is no longer as it was read: what is written rests on that picture.
        """

    async def emit(self, resource: Manifest, event: Event) -> None:
        """Best effort: a failure to write an Event is counted, never raised."""

    async def log_tail(self, pod: Manifest, container: str, lines: int) -> str:
        """The last lines of a container's log; empty when the node or the log is gone. ``pod`` is as for delete."""

    async def runtime_status(self, ip: str) -> RuntimeStatus | None:
        """What a rank that serves answers on its status port; None when it doesn't within two seconds."""

    async def train_status(self, ip: str) -> TrainStatus | None:
        """Likewise of a fine-tune's rank."""
