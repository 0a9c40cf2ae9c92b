"""The ASGI front door: passes everything to vLLM's own OpenAI app once it is there.

Ray Serve pickles a deployment's class and its app by value. The app that :func:`open_with` stores must be found by both
the replica and the copy of :class:`Front` that Serve made, so it lives in this module, which is imported by name.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOADING = b'{"error": {"message": "the model is still loading", "type": "unavailable", "code": 503}}'
_opened: list[App] = []


def open_with(app: App) -> None:
    _opened[:] = [app]


class Front:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif _opened:
            await _opened[0](scope, receive, send)
        else:
            headers = [(b"content-type", b"application/json"), (b"retry-after", b"10")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": _LOADING})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
