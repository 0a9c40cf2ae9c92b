"""kopf's part: it watches; each event goes into the cache, and its owner's key into the queue. Nothing else.

Only ``on.event`` handlers: the others write annotations, and finalizers, into the objects.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from hunyuan_operator.cluster.cache import Cache
from hunyuan_operator.cluster.client import PAGE
from hunyuan_operator.cluster.kinds import WATCHED
from hunyuan_operator.cluster.port import Key
from hunyuan_operator.workqueue import WorkQueue

_BACKOFFS = (0.5, 1, 2, 4, *[8] * 64)
"""Seconds between kopf's tries to reach the API server: some nine minutes, as its restart would not come sooner."""


def registry(
    cache: Cache, queue: WorkQueue[Key], relisted: asyncio.Event, login: Callable[[], kopf.ConnectionInfo]
) -> kopf.OperatorRegistry:
    """Set ``relisted`` when a watch began anew: what was deleted meanwhile made no event."""
    handlers = kopf.OperatorRegistry()

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return login()

    kopf.on.login(registry=handlers, errors=kopf.ErrorsMode.PERMANENT)(log_in)
    watch = on_event(cache, queue, relisted)
    for kind in WATCHED:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=handlers)(watch)
    return handlers


def on_event(cache: Cache, queue: WorkQueue[Key], relisted: asyncio.Event) -> Callable[..., Awaitable[None]]:
    async def watch(event: dict[str, Any], **_: Any) -> None:
        manifest = event["object"]
        changed = cache.remove(manifest) if event["type"] == "DELETED" else cache.put(manifest)
        if event["type"] is None:
            relisted.set()
        # Own writes changed it before; another owner was concerned if the label that names it changed.
        for key in cache.concerned(manifest) | changed:
            queue.add(key)

    return watch


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf copies every object to find what changed since it was last handled. Nothing here asks for that, and it took
    almost half of the operator's processor time (300 deployments, profiled)."""

    def build(self, **_: Any) -> dict[str, Any]:
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing was stored."""

    def store(self, **_: Any) -> None:
        """Nothing is."""


class _NoProgress(kopf.ProgressStorage):
    """Of handlers that retry, of which there are none; ``clear`` copies, too."""

    def fetch(self, **_: Any) -> None:
        """Nothing was stored."""

    def store(self, **_: Any) -> None:
        """Nothing is."""

    def purge(self, **_: Any) -> None:
        """Nothing is there."""

    def touch(self, **_: Any) -> None:
        """Nothing is touched."""

    def clear(self, *, essence: Any) -> Any:
        return essence


def settings() -> kopf.OperatorSettings:
    """kopf as a pure watcher: it writes nothing, and needs no right beyond list and watch of the kinds themselves."""
    kopf_settings = kopf.OperatorSettings()
    kopf_settings.peering.standalone = True
    kopf_settings.posting.enabled = False
    kopf_settings.scanning.disabled = True
    kopf_settings.persistence.diffbase_storage = _NoDiffs()
    kopf_settings.persistence.progress_storage = _NoProgress()
    kopf_settings.networking.error_backoffs = _BACKOFFS
    kopf_settings.networking.connect_timeout = 10
    kopf_settings.watching.chunk_size = PAGE
    # One task an object: gone as soon as its events are handled, instead of after five idle seconds.
    kopf_settings.queueing.idle_timeout = 0.1
    kopf_settings.queueing.exit_timeout = 0.5
    for kind in WATCHED:
        if kind.selector:
            kopf_settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
    return kopf_settings
