"""The port over HTTP: reads from the cache, writes by server-side apply, and the answers of own writes into the cache.

So the next reconcile sees what this one wrote, even when the watch is late.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from hunyuan_operator.api import names
from hunyuan_operator.cluster.answers import NotFound
from hunyuan_operator.cluster.cache import Cache
from hunyuan_operator.cluster.client import APPLY, JSON, METADATA_ONLY, ApiClient, Call
from hunyuan_operator.cluster.events import Recorder
from hunyuan_operator.cluster.kinds import BY_TYPE, SECRET, WATCHED, Kind
from hunyuan_operator.cluster.port import Event, Key
from hunyuan_operator.errors import ClusterError, Conflict, NotServed
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_runtime.config import Port, RuntimeStatus
from hunyuan_runtime.train_config import TrainStatus

_Status = TypeVar("_Status", bound=BaseModel)

_LOG_BYTES = 65536
_STATUS_BYTES = 65536
_STATUS_CONNECTIONS = 64
_CACHED = {(kind.api_version, kind.name) for kind in WATCHED}
_APPLY_PARAMS = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
_CREATE_PARAMS = {"fieldManager": names.FIELD_MANAGER}


class KubeCluster:
    """Implements :class:`hunyuan_operator.cluster.port.Cluster`."""

    def __init__(
        self,
        client: ApiClient,
        runtime: aiohttp.ClientSession,
        recorder: Recorder,
        now: Callable[[], datetime],
    ) -> None:
        self.cache = Cache()
        self._client = client
        self._runtime = runtime
        self._recorder = recorder
        self._now = now
        self._secrets: set[tuple[str, str]] = set()
        """UID of the resource and name of a Secret that was there; forgotten when the cache is checked."""

    def resource(self, key: Key) -> Manifest | None:
        return self.cache.resource(key)

    def children(self, key: Key) -> list[Manifest]:
        return self.cache.children(key)

    async def sync(self, namespaces: tuple[str, ...]) -> set[Key]:
        """List everything, and correct the cache by it; returns the keys whose picture was wrong."""
        changed: set[Key] = set()
        self._secrets.clear()
        for kind in WATCHED:
            for namespace in namespaces or ("",):
                changed |= await self._sync_kind(kind, namespace)
        return changed.union(*map(self.cache.dependents, changed))

    async def _sync_kind(self, kind: Kind, namespace: str) -> set[Key]:
        changed: set[Key] = set()
        uids: set[str] = set()
        version = 0
        async for page in self._client.pages(kind, namespace):
            for item in page["items"]:
                changed |= self.cache.put(item)
                uids.add(item["metadata"]["uid"])
            version = int(page["metadata"]["resourceVersion"])
        return changed | self.cache.retain(kind.name, namespace, uids, version)

    async def has_secret(self, key: Key, name: str) -> bool:
        resource = self.resource(key)
        known = (resource["metadata"]["uid"] if resource else "", name)
        if known in self._secrets:
            return True
        call = Call(method="GET", path=SECRET.path(key.namespace, name), accept=METADATA_ONLY)
        try:
            await self._client.send(call)
        except NotFound:
            return False
        self._secrets.add(known)
        return True

    async def apply(self, manifest: Manifest) -> None:
        await self._write("PATCH", manifest, name=manifest["metadata"]["name"])

    async def create(self, manifest: Manifest) -> None:
        try:
            await self._write("POST", manifest)
        except NotFound as error:
            if error.served:
                raise
            raise NotServed(f"{manifest['kind']} of {manifest['apiVersion']}") from error

    async def find(self, manifest: Manifest) -> Manifest | None:
        try:
            return await self._client.json(Call(method="GET", path=_path(manifest, manifest["metadata"]["name"])))
        except NotFound:
            return None

    async def _write(self, method: str, manifest: Manifest, name: str = "", subresource: str = "") -> Manifest:
        path = _path(manifest, name, subresource)
        patch = method == "PATCH"
        call = Call(
            method=method,
            path=path,
            params=_APPLY_PARAMS if patch else _CREATE_PARAMS,
            body=manifest,
            content_type=APPLY if patch else JSON,
        )
        answer = await self._client.json(call)
        if _type(answer) in _CACHED:
            self.cache.put(answer)
        return answer

    async def delete(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": metadata["uid"]},
            "propagationPolicy": "Background",
        }
        if "deletionGracePeriodSeconds" in metadata:
            options["gracePeriodSeconds"] = metadata["deletionGracePeriodSeconds"]
        call = Call(method="DELETE", path=_path(manifest, metadata["name"]), body=options)
        try:
            answer = await self._client.json(call)
        except Conflict:  # Gone already, or another object bears the name now.
            self.cache.discard(metadata["uid"])
            return
        if "deletionTimestamp" in answer.get("metadata", {}):
            if _type(answer) in _CACHED:
                self.cache.put(answer)
        else:
            self.cache.discard(metadata["uid"])

    async def patch_status(self, resource: Manifest, status: Manifest) -> Manifest:
        metadata = resource["metadata"]
        # With these, one that was made again under the name refuses the old one's status, and one that another leader
        # has written to since refuses what was decided without knowing that.
        identity = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
        body = {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "metadata": identity,
            "status": status,
        }
        return await self._write("PATCH", body, name=metadata["name"], subresource="status")

    async def emit(self, resource: Manifest, event: Event) -> None:
        # The client counts what failed.
        with suppress(ClusterError):
            await self._recorder.record(resource, event, self._now())

    async def log_tail(self, pod: Manifest, container: str, lines: int) -> str:
        metadata = pod["metadata"]
        params = {"container": container, "tailLines": str(lines), "limitBytes": str(_LOG_BYTES)}
        path = _path(pod, metadata["name"], "log")
        try:
            # Accept is not JSON only: the API server refuses that for a log.
            text = await self._client.send(Call(method="GET", path=path, params=params, accept="*/*", timeout=5.0))
        except ClusterError:
            return ""
        return text.decode(errors="replace")

    async def runtime_status(self, ip: str) -> RuntimeStatus | None:
        return await self._told(ip, RuntimeStatus)

    async def train_status(self, ip: str) -> TrainStatus | None:
        return await self._told(ip, TrainStatus)

    async def _told(self, ip: str, status: type[_Status]) -> _Status | None:
        host = f"[{ip}]" if ":" in ip else ip
        try:
            async with self._runtime.get(f"http://{host}:{Port.STATUS.value}/status") as response:
                if response.status != HTTPStatus.OK:
                    return None
                return status.model_validate_json(await response.content.read(_STATUS_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
            return None


def runtime_session() -> aiohttp.ClientSession:
    """Asks runtimes for their status: two seconds each, and never the same connection twice."""
    connector = aiohttp.TCPConnector(force_close=True, limit=_STATUS_CONNECTIONS)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=2.0))


def _path(manifest: Manifest, name: str = "", subresource: str = "") -> str:
    return BY_TYPE[_type(manifest)].path(manifest["metadata"]["namespace"], name, subresource)


def _type(manifest: Manifest) -> tuple[str, str]:
    return manifest["apiVersion"], manifest["kind"]
