"""A proxy before the API server that counts the operator's writes, and ends the operator when it has made enough.

Its Lease and Events are none of them: the one isn't about any resource, the others are told at best.
"""

import asyncio
import base64
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

_OWN = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}
"""Headers of a connection, not of what goes over it."""


@dataclass
class WriteProxy:
    """``lifetime`` is after how many writes the next one ends the operator, before it takes effect; None is never."""

    server: str
    tls: ssl.SSLContext
    kill: Callable[[], None] = lambda: None
    lifetime: int | None = None
    writes: list[str] = field(default_factory=list)
    """Those of the present process."""
    port: int = 0

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        connector = aiohttp.TCPConnector(ssl=self.tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            self._session = session
            runner = web.AppRunner(app, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set()
            await stop.wait()
            await runner.cleanup()

    def stop(self, event: asyncio.Event) -> None:
        """From another thread."""
        self._loop.call_soon_threadsafe(event.set)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if _is_write(request):
            if self.lifetime is not None and len(self.writes) >= self.lifetime:
                self.kill()
                raise web.HTTPServiceUnavailable  # to nobody
            self.writes.append(f"{request.method} {request.path}")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        url = URL(self.server + request.path_qs, encoded=True)
        body = await request.read() or None
        async with self._session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
            response = web.StreamResponse(status=answer.status, headers=kept)
            with suppress(ConnectionError):  # a process that was killed reads no more
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response


def _is_write(request: web.Request) -> bool:
    about = request.path.split("/")
    return request.method != "GET" and not {"leases", "events"}.intersection(about)


@contextmanager
def write_proxy(kubeconfig: Path) -> Iterator[tuple[WriteProxy, Path]]:
    """The proxy, and a kubeconfig like the other that leads through it."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    target = config["clusters"][0]["cluster"]
    authority = base64.b64decode(target.pop("certificate-authority-data", "")).decode()
    tls = ssl.create_default_context(cafile=target.pop("certificate-authority", None), cadata=authority or None)
    proxy = WriteProxy(target["server"], tls)
    ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=asyncio.run, args=(proxy.serve(ready, stop),), daemon=True)
    thread.start()
    assert ready.wait(10)
    target["server"] = f"http://127.0.0.1:{proxy.port}"
    path = kubeconfig.with_name("through-proxy.kubeconfig")
    path.write_text(yaml.safe_dump(config))
    try:
        yield proxy, path
    finally:
        proxy.stop(stop)
        thread.join(10)
