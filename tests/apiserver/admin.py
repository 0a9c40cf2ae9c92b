"""The API server as its administrator, from an event loop: what kubectl would take too long for."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
import yaml

from tests import cluster as testbed

Object = dict[str, Any]


class Admin:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str) -> Object:
        """``{}`` when it isn't there."""
        async with self._session.get(path) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return {}
            answer.raise_for_status()
            found: Object = await answer.json()
            return found

    async def send(self, method: str, path: str, body: Object | None = None) -> int:
        """The HTTP status; a patch is a merge."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with self._session.request(
            method, path, data=json.dumps(body) if body else None, headers={"Content-Type": kind}
        ) as answer:
            await answer.read()
            return answer.status

    async def watch(self, path: str) -> AsyncIterator[tuple[str, Object]]:
        """Kind of event and object: first what is there, then what happens."""
        async with self._session.get(path, params={"watch": "true"}) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event = json.loads(line)
                yield event["type"], event["object"]


@asynccontextmanager
async def admin(cluster: testbed.Cluster) -> AsyncIterator[Admin]:
    """Of the test bed, whose kubeconfig holds an authority's file and a token."""
    config = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--minify"))
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    tls = ssl.create_default_context(cafile=server["certificate-authority"])
    async with aiohttp.ClientSession(
        base_url=server["server"],
        headers={"Authorization": f"Bearer {user['token']}"},
        connector=aiohttp.TCPConnector(ssl=tls),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        read_bufsize=2**20,
    ) as session:
        yield Admin(session)
