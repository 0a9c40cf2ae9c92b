"""What the operator makes of a rank's answer, or of none."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from hunyuan_operator.cluster.client import ApiClient, Credentials
from hunyuan_operator.cluster.events import Recorder
from hunyuan_operator.cluster.kube import KubeCluster, runtime_session

from hunyuan_runtime.config import Phase, Port, RuntimeStatus
from hunyuan_runtime.train_config import TrainPhase, TrainStatus

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def no_login() -> Credentials:
    return Credentials(server="http://127.0.0.1:9", headers={}, tls=ssl.create_default_context())


@asynccontextmanager
async def rank(handler: Handler) -> AsyncIterator[str]:
    """A rank at an address of its own on this machine; the port is the contract's."""
    app = web.Application()
    app.router.add_get("/status", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    address = ".".join(("127", *(str(random.randrange(1, 255)) for _ in range(3))))
    await web.TCPSite(runner, address, Port.STATUS.value).start()
    try:
        yield address
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking() -> AsyncIterator[KubeCluster]:
    async with ApiClient(no_login, lambda: 0.0, lambda *_: None) as client, runtime_session() as runtime:
        yield KubeCluster(client, runtime, Recorder(client, "op"), lambda: datetime(2026, 1, 1, tzinfo=UTC))


async def ask(address: str) -> RuntimeStatus | None:
    async with asking() as cluster:
        return await cluster.runtime_status(address)


async def test_an_answer_is_parsed() -> None:
    expected = RuntimeStatus(phase=Phase.LOADING, ranks_joined=2)

    async def status(_: web.Request) -> web.Response:
        return web.Response(text=expected.model_dump_json())

    async with rank(status) as address:
        assert await ask(address) == expected


async def test_a_trainers_answer_is_of_its_own_kind() -> None:
    expected = TrainStatus(phase=TrainPhase.TRAINING, done=3, total=200, loss=1.25)

    async def status(_: web.Request) -> web.Response:
        return web.Response(text=expected.model_dump_json())

    async with rank(status) as address, asking() as cluster:
        assert await cluster.train_status(address) == expected
        assert await cluster.runtime_status(address) is None


@pytest.mark.parametrize("text", ["", "no json", '{"phase": "Dancing"}', "[" * 100_000])
async def test_an_answer_of_another_kind_is_none(text: str) -> None:
    async def status(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async with rank(status) as address:
        assert await ask(address) is None


async def test_an_error_is_none() -> None:
    async def status(_: web.Request) -> web.Response:
        return web.Response(status=500, text='{"phase": "Serving"}')

    async with rank(status) as address:
        assert await ask(address) is None


async def test_a_rank_that_does_not_listen_is_none() -> None:
    assert await ask("127.1.2.3") is None


async def test_a_rank_that_hangs_costs_two_seconds() -> None:
    async def status(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with rank(status) as address:
        start = asyncio.get_running_loop().time()
        assert await ask(address) is None
        assert 1.5 < asyncio.get_running_loop().time() - start < 4
