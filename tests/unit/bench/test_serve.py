"""The comparison's arithmetic and its turns; the servers are played."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serve
from click.testing import CliRunner
from hunyuan_cli.bench import Run
from hunyuan_cli.load import Percentiles, Question, Summary
from serve import Block, Plan, compare, loads
from servers import Server, bare, serve_config


def server(name: str) -> Server:
    return Server(name=name, command=[], url=name, ready_url="", env={})


def plan(*, rounds: int = 1, together: bool = False) -> Plan:
    return Plan(
        servers=(server("bare"), server("ours")),
        question=Question(max_tokens=1, words=1, seed=0),
        runs=[Run(streams=8, requests=16), Run(streams=64, requests=128)],
        rounds=rounds,
        together=together,
    )


def block(server: str, number: int, speed: float, streams: int = 8) -> Block:
    latency = Percentiles(p50=1000 / speed, p90=0, p99=0)
    summary = Summary(
        requests=1, failed=0, failures=[], tokens=2000, seconds=1, tokens_per_second=speed, ttft_ms=latency,
        itl_ms=latency, e2e_ms=latency,
    )  # fmt: skip
    run = next(run for run in plan().runs if run.streams == streams)
    return Block(server=server, round=number, run=run, cpu_seconds=4, summary=summary)


def test_the_ratio_is_the_median_of_rounds_and_not_of_speeds() -> None:
    """A machine that is slow for a while is so for both servers."""
    speeds = {"bare": [100, 50, 80], "ours": [99, 49, 84]}
    blocks = [block(name, number, speed) for name, all_ in speeds.items() for number, speed in enumerate(all_, start=1)]
    blocks.append(block("ours", 1, 1, streams=64))
    found = compare(plan(), blocks[::-1], plan().runs[0])
    assert (found.run, found.ratio, found.ratios) == ("8 streams", 0.99, [0.99, 0.98, 1.05])
    assert found.tokens_per_second == {"bare": 80, "ours": 84}
    assert found.ttft_p50_ms == {"bare": 12.5, "ours": 11.9}
    assert found.cpu_seconds_per_1000_tokens == {"bare": 2, "ours": 2}
    assert "0.990 (0.980-1.050)" in serve.table([found])


@pytest.mark.parametrize("together", [False, True])
def test_servers_take_turns_and_change_the_order(monkeypatch: pytest.MonkeyPatch, *, together: bool) -> None:
    turns: list[str] = []

    @contextmanager
    def started(plan: Plan, server: Server, logs: Path) -> Iterator[str]:
        turns.append(f"+{server.name}")
        yield server.name
        turns.append(f"-{server.name}")

    def measured(plan: Plan, server: Server, process: str, number: int, run: Run) -> Block:
        assert process == server.name
        turns.append(f"{server.name} {run.streams}")
        return block(server.name, number, 1)

    monkeypatch.setattr(serve, "started", started)
    monkeypatch.setattr(serve, "block", measured)
    assert len(list(serve.blocks_of(plan(rounds=2, together=together), Path()))) == 8
    assert " ".join(turns) == (
        "+bare +ours bare 8 ours 8 bare 64 ours 64 ours 8 bare 8 ours 64 bare 64 -ours -bare"
        if together
        else "+bare bare 8 bare 64 -bare +ours ours 8 ours 64 -ours "
        "+ours ours 8 ours 64 -ours +bare bare 8 bare 64 -bare"
    )


@pytest.mark.parametrize(
    ("streams", "rates", "titles"),
    [
        ((), (), ["8 streams", "16 streams", "64 streams"]),
        ((4,), (2.0,), ["4 streams", "2 requests/s"]),
        ((), (2.0,), ["2 requests/s"]),
    ],
)
def test_what_is_measured_follows_the_options(streams: list[int], rates: list[float], titles: list[str]) -> None:
    assert [run.title for run in loads(streams, rates, 128)] == titles


def test_bare_has_our_engine_arguments_and_its_own_executor(tmp_path: Path) -> None:
    config = serve_config(tmp_path, max_num_seqs=7)
    command = bare(config, tmp_path, executor="").command
    assert {"--max-num-seqs=7", "--enforce-eager", "--dtype=bfloat16", f"--model={tmp_path}"} <= set(command)
    assert not any("executor" in word for word in command)
    assert "--distributed-executor-backend=ray" in bare(config, tmp_path, executor="ray").command


def test_help_needs_no_server() -> None:
    result = CliRunner().invoke(serve.main, ["--help"])
    assert result.exit_code == 0
    assert "front door against bare vLLM" in result.stdout
