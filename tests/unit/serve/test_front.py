"""The front door and the reports: what is accepted is answered, and what is reported arrives as it was sent."""

import asyncio
import os
import pickle
import socket
import threading
from collections.abc import AsyncIterator

import aiohttp
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from hunyuan_runtime.serve.front import Door, Loop, bind
from hunyuan_runtime.serve.reports import Report, ReportReader, ReportWriter
from hunyuan_runtime.termination import Cause, RuntimeFailure


class Engine:
    """An app that streams two words, the second when ``go_on`` is set."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.go_on = asyncio.Event()
        self.app.add_api_route("/v1/completions", self.complete, methods=["POST"])

    async def complete(self) -> StreamingResponse:
        async def words() -> AsyncIterator[bytes]:
            yield b"first "
            await self.go_on.wait()
            yield b"last"

        return StreamingResponse(words())


@pytest.fixture
def listener() -> socket.socket:
    return bind(0)


@pytest.fixture
def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_closing_door_lets_out_what_it_let_in(
    listener: socket.socket, url: str, client: aiohttp.ClientSession
) -> None:
    engine = Engine()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.post(f"{url}/v1/completions")
    door = Door(engine.app, listener)
    await door.open()
    async with client.post(f"{url}/v1/completions") as answer:
        assert await answer.content.read(6) == b"first "
        closing = asyncio.create_task(door.close())
        while True:  # until the door has heard of it
            try:
                await (await client.get(f"{url}/health")).read()
            except aiohttp.ClientConnectorError:
                break
            await asyncio.sleep(0.02)
        assert not closing.done()
        engine.go_on.set()
        assert await answer.content.read() == b"last"
    await asyncio.wait_for(closing, 5)


async def test_a_door_that_is_about_to_close_sends_its_clients_elsewhere(
    listener: socket.socket, url: str, client: aiohttp.ClientSession
) -> None:
    """A client that keeps its connection would come back by it, whatever the Service says."""
    engine = Engine()
    engine.go_on.set()
    door = Door(engine.app, listener)
    await door.open()
    async with client.post(f"{url}/v1/completions") as answer:
        assert "Connection" not in answer.headers
    door.send_away()
    async with asyncio.timeout(10):
        while answer.headers.get("Connection") != "close":
            async with client.post(f"{url}/v1/completions") as answer:
                assert await answer.read() == b"first last"
            await asyncio.sleep(0.1)
    await asyncio.wait_for(door.close(), 5)


async def test_what_a_text_generator_lacks_is_refused_in_the_clients_own_form(
    listener: socket.socket, url: str, client: aiohttp.ClientSession
) -> None:
    door = Door(Engine().app, listener)
    await door.open()
    async with client.post(f"{url}/v1/embeddings", json={"input": "x"}) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["type"]) == (404, 404, "NotFoundError")
    assert error["message"].startswith("/v1/embeddings is not served: this model generates text.")
    await client.close()
    await door.close()


def test_a_port_that_is_taken_is_an_error_and_no_exit(listener: socket.socket) -> None:
    listener.listen()
    with pytest.raises(OSError, match="in use"):
        bind(listener.getsockname()[1])


async def test_the_engines_loop_is_uvloops_in_a_thread_of_its_own() -> None:
    async def where() -> tuple[str, str]:
        return type(asyncio.get_running_loop()).__module__, threading.current_thread().name

    async def fail() -> None:
        raise RuntimeFailure(Cause.EngineFailed, "no")

    loop = Loop()
    assert await loop.run(where()) == ("uvloop", "front-door")
    with pytest.raises(RuntimeFailure, match="no"):
        await loop.run(fail())


def test_reports_arrive_whole_and_in_order() -> None:
    reading, writing = os.pipe()
    reader, writer = ReportReader(reading), ReportWriter(writing)
    assert reader.read(timeout=0) == []
    sent = [Report(event="joining", ranks=[0]), Report.failure(RuntimeFailure(Cause.ConfigInvalid, "--x\nis unknown"))]
    for report in sent:
        writer.write(report)
    assert reader.read(timeout=1) == sent
    line = sent[0].model_dump_json().encode() + b"\n"
    os.write(writing, line[:9])
    assert reader.read(timeout=1) == []
    os.write(writing, line[9:])
    assert reader.read(timeout=1) == [sent[0]]


def test_the_end_of_the_driver_without_a_report_is_an_end_too() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert [report.event for report in ReportReader(reading).read(timeout=1)] == ["failed"]


def test_a_failure_survives_every_way_between_processes() -> None:
    failure = RuntimeFailure(Cause.ConfigInvalid, "--x is unknown")
    for copy in (pickle.loads(pickle.dumps(failure)), Report.failure(failure).as_failure()):
        assert (copy.cause, str(copy)) == (failure.cause, str(failure))
