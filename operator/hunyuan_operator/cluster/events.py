"""Events as the API wants them, with repeats counted instead of written again.

A repeat within six minutes (the window of client-go) is one small patch of the first Event's ``series``.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.cluster.answers import NotFound
from hunyuan_operator.cluster.client import MERGE_PATCH, ApiClient, Call
from hunyuan_operator.cluster.kinds import EVENT
from hunyuan_operator.cluster.port import Event
from hunyuan_operator.observe.manifest import Manifest

_WINDOW = timedelta(minutes=6)
_REMEMBERED = 4096
_NOTE_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Series:
    name: str
    count: int
    last: datetime


def micro_time(moment: datetime) -> str:
    """``metav1.MicroTime`` of a moment in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def cut(note: str) -> str:
    """At most 1,024 bytes, by whole characters."""
    if len(note.encode()) <= _NOTE_BYTES:
        return note
    return note.encode()[: _NOTE_BYTES - 3].decode(errors="ignore") + "…"


class Recorder:
    def __init__(self, client: ApiClient, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._series: OrderedDict[tuple[str, str, str], Series] = OrderedDict()

    async def record(self, resource: Manifest, event: Event, now: datetime) -> None:
        metadata = resource["metadata"]
        identity = (metadata["uid"], str(event.reason), cut(event.note))
        known = self._series.get(identity)
        if known is not None and now - known.last < _WINDOW:
            series = Series(name=known.name, count=known.count + 1, last=now)
            try:
                await self._repeat(metadata["namespace"], series)
            except NotFound:  # Events live for an hour, or less where someone cleans up.
                series = await self._write(resource, event, now)
        else:
            series = await self._write(resource, event, now)
        self._series[identity] = series
        self._series.move_to_end(identity)
        if len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

    async def _write(self, resource: Manifest, event: Event, now: datetime) -> Series:
        body = self._manifest(resource, event, now)
        await self._client.send(Call(method="POST", path=EVENT.path(body["metadata"]["namespace"]), body=body))
        return Series(name=body["metadata"]["name"], count=1, last=now)

    async def _repeat(self, namespace: str, series: Series) -> None:
        patch = {"series": {"count": series.count, "lastObservedTime": micro_time(series.last)}}
        path = EVENT.path(namespace, series.name)
        await self._client.send(Call(method="PATCH", path=path, body=patch, content_type=MERGE_PATCH))

    def _manifest(self, resource: Manifest, event: Event, now: datetime) -> dict[str, Any]:
        metadata = resource["metadata"]
        text = f"{metadata['uid']} {event.reason} {event.note} {now.isoformat()}"
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {
                "namespace": metadata["namespace"],
                "name": f"{metadata['name']}.{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            },
            "eventTime": micro_time(now),
            "reportingController": f"{names.GROUP}/operator",
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": str(event.reason),
            "type": event.type,
            "note": cut(event.note),
            "regarding": {
                "apiVersion": resource["apiVersion"],
                "kind": resource["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
        }
