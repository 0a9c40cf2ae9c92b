"""GET and POST to pods of the own group: never through a proxy, whatever the environment says."""

import http.client
import json
import urllib.request
from typing import Any

FAILURES = (OSError, http.client.HTTPException)
"""What a request can raise; an answer of 400 and above is an OSError too (urllib's HTTPError)."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, *, timeout: float, body: dict[str, Any] | None = None) -> bytes:
    """The answer's body; ``timeout`` is for each step, not for the whole."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - http to a pod
    with _direct.open(request, timeout=timeout) as answer:
        content: bytes = answer.read()
    return content
