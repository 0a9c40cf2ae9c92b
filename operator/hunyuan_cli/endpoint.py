"""An OpenAI endpoint as ``chat`` and ``bench`` use it: streamed chats, and failures as one sentence.

On aiohttp (extra ``client``): a load of 64 streams must cost the client little, since it may share the machine with the
server, and per request aiohttp takes a tenth of httpx's time. The standard library has no asynchronous HTTP.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

CONNECT_TIMEOUT = 10
"""Seconds; an answer itself may take as long as it does."""


class EndpointError(Exception):
    """The message says what failed and, where it can be known, what to do."""


class Endpoint:
    """Use as an asynchronous context manager."""

    def __init__(self, url: str, api_key: str = "") -> None:
        """``url`` with or without the trailing ``/v1`` that OpenAI's clients ask for."""
        self.url = url.rstrip("/").removesuffix("/v1") if "://" in url else f"http://{url.rstrip('/')}"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def __aenter__(self) -> "Endpoint":
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            connector=aiohttp.TCPConnector(limit=0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def model(self) -> str:
        """The name of the first model that is served."""
        try:
            async with self._session.get(f"{self.url}/v1/models") as answer:
                if answer.status != 200:
                    raise await self._refusal(answer)
                return str((await answer.json())["data"][0]["id"])
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._broken(error) from error
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(f"{self.url} is no OpenAI endpoint: /v1/models has no list of models") from error

    async def chat(self, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """The events' JSON texts of one streamed chat completion, unparsed.

        Raises:
            EndpointError: refused, broken off, or an error in the middle of the stream.

        """
        try:
            async with self._session.post(f"{self.url}/v1/chat/completions", json={**body, "stream": True}) as answer:
                if answer.status != 200:
                    raise await self._refusal(answer)
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        if line.startswith(b'data: {"error"'):
                            raise EndpointError(f"the answer broke off: {_message(line[6:])}")
                        yield line[6:]
                    elif line.startswith(b"data: [DONE]"):
                        return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._broken(error) from error
        raise EndpointError(f"{self.url} ended the answer in the middle")

    async def _refusal(self, answer: aiohttp.ClientResponse) -> EndpointError:
        said = _message(await answer.read())
        match answer.status:
            case 401 | 403:
                return EndpointError(f"{self.url} refuses the API key ({answer.status}); give --api-key: {said}")
            case 404:
                return EndpointError(f"{self.url} answers 404: {said}")
            case 503:
                return EndpointError(f"{self.url} isn't ready (503): {said}")
            case status:
                return EndpointError(f"{self.url} answers {status}: {said}")

    def _broken(self, error: Exception) -> EndpointError:
        match error:
            case aiohttp.ClientConnectorError():
                return EndpointError(f"{self.url} can't be reached: {_reason(error.os_error)}")
            case aiohttp.InvalidURL():
                return EndpointError(f"{self.url} is no URL of an endpoint")
            case TimeoutError():
                return EndpointError(f"{self.url} didn't take the connection within {CONNECT_TIMEOUT} s")
            case _:
                return EndpointError(f"{self.url}: the connection broke: {error or type(error).__name__}")


def _reason(error: OSError) -> str:
    """asyncio puts the address into ``strerror``, which is said already; a resolver has numbers of its own, below 0."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def _message(body: bytes) -> str:
    """The sentence in an OpenAI error, or the beginning of whatever came."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        return " ".join(body[:200].decode(errors="replace").split()) or "nothing more"
