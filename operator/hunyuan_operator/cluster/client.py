"""HTTP to the API server: one connection pool, credentials read again and again, own errors, every call counted."""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp

from hunyuan_operator.cluster.answers import error_of
from hunyuan_operator.cluster.kinds import Kind
from hunyuan_operator.errors import Unavailable
from hunyuan_operator.observe.manifest import Manifest

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

_CREDENTIALS_LAST = 60.0
"""Seconds; the kubelet renews a projected token ten minutes before it ends, so this is soon enough."""
PAGE = 500
"""Objects of one answer to a list."""
_CONNECTIONS = 32


@dataclass(frozen=True, kw_only=True)
class Credentials:
    server: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request; ``body`` is sent as JSON, whatever its ``content_type`` (JSON is YAML, too)."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Manifest | None = None
    content_type: str = JSON
    accept: str = JSON
    timeout: float = 30.0


class ApiClient:
    """``counted`` is told the method and the HTTP status of every call, 0 when there was no answer."""

    def __init__(
        self, login: Callable[[], Credentials], clock: Callable[[], float], counted: Callable[[str, int], None]
    ) -> None:
        self._login = login
        self._clock = clock
        self._counted = counted
        self._credentials: tuple[float, Credentials] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def json(self, call: Call) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self.send(call))
        return answer

    async def send(self, call: Call) -> bytes:
        """The answer's body; raises a ClusterError for everything but success."""
        code, body, retry_after = await self._send(call)
        if code == 401:  # The token may have been replaced early, such as with its signing key.
            self._credentials = None
            code, body, retry_after = await self._send(call)
        if code >= 400:
            raise error_of(code, body, retry_after)
        return body

    async def pages(self, kind: Kind, namespace: str) -> AsyncIterator[dict[str, Any]]:
        """List a kind page by page; every page bears the same resource version."""
        params = {"limit": str(PAGE), "labelSelector": kind.selector}
        while True:
            page = await self.json(Call(method="GET", path=kind.path(namespace), params=params))
            for item in page["items"]:  # Items of a list don't say what they are.
                item.update(kind=kind.name, apiVersion=kind.api_version)
            yield page
            if not (following := page["metadata"].get("continue")):
                return
            params["continue"] = following

    async def _send(self, call: Call) -> tuple[int, bytes, str]:
        assert self._session is not None, "use the client in 'async with'"
        credentials = self._fresh()
        headers = {**credentials.headers, "Accept": call.accept, "User-Agent": "hunyuan-operator"}
        data = None
        if call.body is not None:
            headers["Content-Type"] = call.content_type
            data = json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode()
        code = 0
        try:
            async with self._session.request(
                call.method,
                credentials.server.rstrip("/") + call.path,
                params=call.params,
                data=data,
                headers=headers,
                ssl=credentials.tls,
                timeout=aiohttp.ClientTimeout(total=call.timeout),
            ) as response:
                body = await response.read()
                code = response.status
                return code, body, response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{call.method} {call.path}: {error or type(error).__name__}") from error
        finally:
            self._counted(call.method, code)

    def _fresh(self) -> Credentials:
        if self._credentials is None or self._credentials[0] + _CREDENTIALS_LAST < self._clock():
            self._credentials = (self._clock(), self._login())
        return self._credentials[1]
