"""An OpenAI endpoint that answers what a test tells it, in a thread of its own, over real HTTP."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class PlayedEndpoint:
    """``words`` is every answer; the other numbers say before which word something happens."""

    words: list[str] = field(default_factory=lambda: ["one", " two", " three"])
    key: str = ""
    breaks_at: int = -1
    error_at: int = -1
    hangs_at: int = -1
    bodies: list[dict[str, Any]] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    async def models(self, request: web.Request) -> web.StreamResponse:
        return self._refusal(request, "tiny") or web.json_response({"data": [{"id": "tiny"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if refusal := self._refusal(request, body["model"]):
            return refusal
        self.bodies.append(body)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await self._event(answer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for number, word in enumerate(self.words):
            if number == self.breaks_at:
                assert request.transport is not None
                request.transport.abort()
                return answer
            if number == self.error_at:
                await self._event(answer, {"error": {"message": "the engine died", "code": 500}})
                return answer
            if number == self.hangs_at:
                self.hanging.set()
                await asyncio.sleep(60)
            await self._event(answer, {"choices": [{"delta": {"content": word}}]})
        await self._event(answer, {"choices": [], "usage": {"completion_tokens": len(self.words)}})
        await answer.write(b"data: [DONE]\n\n")
        return answer

    @staticmethod
    async def _event(answer: web.StreamResponse, event: dict[str, Any]) -> None:
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        await answer.write(f"data: {text}\n\n".encode())

    def _refusal(self, request: web.Request, model: str) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        if model != "tiny":
            error = {"message": f"The model `{model}` does not exist. Valid aliases: tiny.", "code": 404}
            return web.json_response({"error": error}, status=404)
        return None

    @contextmanager
    def running(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._start(), loop).result()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.add_routes([web.get("/v1/models", self.models), web.post("/v1/chat/completions", self.chat)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner
