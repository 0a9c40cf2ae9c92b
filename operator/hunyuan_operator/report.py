"""What a pass over either kind of resource tells: its status and Events, and the last words of what failed."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from hunyuan_operator.api.base import Model
from hunyuan_operator.api.status import Failure
from hunyuan_operator.api.times import format_time
from hunyuan_operator.build.metadata import reference
from hunyuan_operator.cluster.port import Cluster, Event
from hunyuan_operator.errors import Conflict
from hunyuan_operator.observe.end import signal_name
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_operator.plan.cause import Casualty
from hunyuan_operator.plan.fingerprint import fingerprint
from hunyuan_operator.status.invalid import Status, status_of_invalid
from hunyuan_operator.status.manifest import as_manifest

POLL = timedelta(seconds=3)
"""How often rank 0 is asked how far it is, while that changes."""
LOG_LINES = 20
_LOG_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class Result:
    """``requeue_after`` is None when only a change can matter."""

    requeue_after: timedelta | None = None


def random_token() -> str:
    """By which the ranks of a group, or of a training, know each other."""
    return secrets.token_hex(32)


async def report(manifest: Manifest, before: Model, after: Model, news: Iterable[Event], cluster: Cluster) -> Manifest:
    """``news`` are the Events between the two. Returns the resource as it is then."""
    if after != before:
        manifest = await cluster.patch_status(manifest, as_manifest(after))
        for event in news:
            await cluster.emit(manifest, event)
    return manifest


async def confirm(manifest: Manifest, cluster: Cluster) -> None:
    """Before an earlier pass's work is gone on with, and before pods are adopted: is the resource as it was read?

    Raises Conflict if it was written since, is being deleted, or is gone.
    """
    found = await cluster.find(manifest)
    if found is None or found["metadata"].get("resourceVersion") != manifest["metadata"].get("resourceVersion"):
        raise Conflict("the resource has been modified")


def invalid(manifest: Manifest, kind: type[Status], message: str, now: datetime) -> tuple[Status, Status]:
    """The status before and after it was found that the object can't be understood."""
    try:
        before = kind.model_validate(manifest.get("status", {}))
    except ValidationError:
        before = kind()
    return before, status_of_invalid(before, message, int(manifest["metadata"]["generation"]), now)


async def failure_of(culprit: Casualty, namespace: str, container: str, cluster: Cluster, **where: Any) -> Failure:
    """With the container's last words, which go with the pod. ``where`` says which attempt of what it ended."""
    end, log = culprit.end, ""
    if teller := culprit.teller:
        pod = reference("Pod", teller.name, namespace, teller.uid)
        log = await cluster.log_tail(pod, end.container or container, LOG_LINES)
    return Failure(
        time=format_time(end.time),
        pod=culprit.pod,
        container=end.container,
        node=culprit.node,
        exit_code=end.exit_code,
        signal=signal_name(end.exit_code),
        reason=end.reason,
        message=end.message,
        retryable=end.retryable,
        fingerprint=fingerprint(end),
        log=log[-_LOG_CHARACTERS:],
        **where,
    )
