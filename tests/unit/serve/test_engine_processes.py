"""Which processes are the engine's, and which of them have ended. Real ones, under played names."""

import subprocess
from collections.abc import Iterator

import psutil
import pytest

from hunyuan_runtime.serve import engine_processes
from hunyuan_runtime.serve.engine_processes import EngineProcesses


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(["sleep", "300"]) for _ in range(3)]
    names = dict(zip([one.pid for one in started], ["VLLM::EngineCore", "VLLM::Worker", "raylet"], strict=True))
    monkeypatch.setattr(engine_processes, "name_of", lambda process: names[process.pid])
    yield started
    for one in started:
        one.kill()
        one.wait()


def test_what_vllm_named_is_the_engine_and_nothing_else(children: list[subprocess.Popen[bytes]]) -> None:
    core, _worker, raylet = children
    engine = EngineProcesses(lambda: [psutil.Process(one.pid) for one in children])
    raylet.kill()
    assert engine.dead() == {}, "nothing is watched yet"
    engine.watch()
    assert engine.dead() == {}
    core.kill()
    core.wait()
    assert engine.dead() == {core.pid: "VLLM::EngineCore"}


def test_a_process_that_nobody_has_collected_yet_is_dead(children: list[subprocess.Popen[bytes]]) -> None:
    engine = EngineProcesses(lambda: [psutil.Process(one.pid) for one in children])
    engine.watch()
    children[1].kill()
    while psutil.Process(children[1].pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert engine.dead() == {children[1].pid: "VLLM::Worker"}
