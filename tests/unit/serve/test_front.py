"""The front door and the reports: what passes between processes arrives as it was sent."""

import os
import pickle
from typing import Any

import pytest

from hunyuan_runtime.serve import front
from hunyuan_runtime.serve.reports import Report, ReportReader, ReportWriter
from hunyuan_runtime.termination import Cause, RuntimeFailure


async def ask(scope: dict[str, Any], *received: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[Any] = []
    left = list(received)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await front.Front()(scope, receive, send)
    return sent


async def test_the_door_is_closed_until_the_engine_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_opened", [])
    start, body = await ask({"type": "http"})
    assert start["status"] == 503
    assert (b"retry-after", b"10") in start["headers"]
    assert b"loading" in body["body"]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "through"})

    front.open_with(app)
    assert await ask({"type": "http"}) == [{"type": "through"}]


async def test_the_lifespan_is_answered_without_an_app() -> None:
    sent = await ask({"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


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
