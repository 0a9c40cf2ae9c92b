"""The front door: vLLM's own OpenAI app, on the group's port, in the process that holds the engine.

Ray Serve's proxy would take each chunk of a stream through a second process, several event loops and a pickle, which
cost 8 to 25 % of the throughput. Here a token's way to the socket is that of ``vllm serve``: the same server (uvicorn)
on the same kind of loop (uvloop). Ray Serve places the replica, watches it and ends it; its proxy doesn't run.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvicorn
import uvloop
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

T = TypeVar("T")

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients and balancers keep theirs (60 s is common), so that
it is not closed under a request that is on its way."""


class Loop:
    """An event loop for engine and door in a thread of their own: Ray Serve's calls don't come between the tokens."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._run, name="front-door", daemon=True).start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work`` there, from another loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


def bind(port: int) -> socket.socket:
    """The port, taken but not yet listening: whoever connects is refused until the door opens.

    Raises:
        OSError: it is taken.

    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))  # noqa: S104 - the pod's front door
    return listener


class Door:
    """Its methods belong to one loop, the engine's."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        app.add_api_route("/v1/{path:path}", refuse, methods=["POST"], include_in_schema=False)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE)
        self._server = _Server(config)
        app.state.server = self._server  # vLLM's error handlers close it when the engine is dead
        self._listener = listener
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return when the port takes connections."""
        self._serving = asyncio.create_task(self._server.serve([self._listener]))
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait([self._serving, listening], return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self._serving  # raises why
            raise RuntimeError("the HTTP server ended before it listened")

    def send_away(self) -> None:
        """From now on each answer ends its connection, so that the client's next one goes to another leader."""
        self._server.config.encoded_headers.append((b"connection", b"close"))  # read again every second

    async def close(self) -> None:
        """Take no new connection, and return when every request that came in has had its whole answer."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


class _Server(uvicorn.Server):
    """Says when it listens. Signals are none of its business: it runs outside the main thread."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.listening.set()


async def refuse(request: Request) -> JSONResponse:
    """What OpenAI's API has and a text generator hasn't (embeddings, images, audio), in the form that clients read."""
    message = (
        f"{request.url.path} is not served: this model generates text. "
        "Use /v1/chat/completions, /v1/completions or /v1/responses."
    )
    error = {"message": message, "type": "NotFoundError", "param": None, "code": 404}
    return JSONResponse({"error": error}, status_code=404)
