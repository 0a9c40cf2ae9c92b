"""The Lease that leader election is about."""

from collections.abc import Mapping
from typing import Any

from hunyuan_operator.cluster.answers import NotFound
from hunyuan_operator.cluster.client import ApiClient, Call
from hunyuan_operator.cluster.kinds import LEASE
from hunyuan_operator.observe.manifest import Manifest


class Lease:
    """``timeout`` of a request, in seconds, is to be short enough that one lost answer doesn't cost the lease."""

    def __init__(self, client: ApiClient, namespace: str, name: str, timeout: float) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._timeout = timeout

    async def read(self) -> Manifest | None:
        try:
            path = LEASE.path(self._namespace, self._name)
            return await self._client.json(Call(method="GET", path=path, timeout=self._timeout))
        except NotFound:
            return None

    async def write(self, spec: Mapping[str, Any], version: str) -> Manifest:
        """Replace the Lease as read at ``version``, or create it if that is ``""``.

        Raises Conflict if another was faster.
        """
        metadata = {"namespace": self._namespace, "name": self._name}
        if version:
            metadata["resourceVersion"] = version
        body = {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": dict(spec)}
        method, name = ("PUT", self._name) if version else ("POST", "")
        path = LEASE.path(self._namespace, name)
        return await self._client.json(Call(method=method, path=path, body=body, timeout=self._timeout))
