"""The comparison's arithmetic and its turns; the servers are played."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serve
from click.testing import CliRunner
from comparison import Block, Comparison, compare, interval, table
from hunyuan_cli.bench import Run
from hunyuan_cli.load import Percentiles, Question, Summary
from plots import draw
from serve import Plan, Turn, loads
from servers import Server, bare, serve_config

CLOSED, OPEN = Run(streams=8, requests=16), Run(rate=2, requests=16)


def server(name: str) -> Server:
    return Server(name=name, command=[], url=name, ready_url="", env={})


def plan(*, starts: int = 1, rounds: int = 1) -> Plan:
    return Plan(
        servers=(server("bare"), server("ours")),
        question=Question(max_tokens=1, words=1, seed=0),
        runs=[CLOSED, OPEN],
        starts=starts,
        rounds=rounds,
    )


def block(server: str, turn: Turn, speed: float) -> Block:
    latency = Percentiles(p50=1000 / speed, p90=2000 / speed, p99=3000 / speed)
    summary = Summary(
        requests=1, failed=0, failures=[], tokens=2000, seconds=1, tokens_per_second=speed, ttft_ms=latency,
        itl_ms=None, e2e_ms=latency,
    )  # fmt: skip
    return Block(server=server, **vars(turn), cpu_seconds=4, summary=summary)


def blocks(run: Run, speeds: dict[str, list[list[float]]]) -> list[Block]:
    """``speeds``: of each server, by start and round."""
    return [
        block(name, Turn(start=start, round=number, run=run), speed)
        for name, starts in speeds.items()
        for start, rounds in enumerate(starts)
        for number, speed in enumerate(rounds)
    ]


SPEEDS = {"bare": [[100.0, 50.0, 80.0], [200.0, 100.0, 100.0]], "ours": [[99.0, 49.0, 84.0], [190.0, 96.0, 94.0]]}


def test_the_ratio_is_the_median_of_pairs_and_not_of_speeds() -> None:
    """A machine that is slow for a while is so for both servers, and a start of both has its own luck."""
    found = compare([*blocks(CLOSED, SPEEDS), *blocks(OPEN, SPEEDS)][::-1], CLOSED)
    assert (found.run, found.of, found.pairs) == ("8 streams", "tokens/s", 6)
    assert found.by_start == [0.99, 0.95]
    assert found.ratio == 0.970
    assert 0.94 <= found.interval[0] < found.ratio < found.interval[1] <= 1.05
    assert found.tokens_per_second == {"bare": 100, "ours": 95}
    assert found.ttft_ms == {
        "bare": Percentiles(p50=10, p90=20, p99=30),
        "ours": Percentiles(p50=10.53, p90=21.05, p99=31.58),
    }
    assert found.itl_ms["ours"] == Percentiles(p50=0, p90=0, p99=0), "answers of one token have no gaps"
    assert found.cpu_seconds_per_1000_tokens == {"bare": 2, "ours": 2}


def test_an_open_loop_compares_how_long_an_answer_takes() -> None:
    found = compare(blocks(OPEN, SPEEDS), OPEN)
    assert (found.run, found.of) == ("2 requests/s", "E2E p50")
    assert found.by_start == [round(100 / 99, 3), round(200 / 190, 3)]


def test_what_all_pairs_agree_on_is_certain_and_one_lucky_start_is_not() -> None:
    assert interval([[0.98] * 4] * 3) == (0.98, 0.98)
    below, above = interval([[0.9] * 4, [1.0] * 4, [1.1] * 4])
    assert (below, above) == (0.9, 1.1), "four pairs of a start are hardly more than one"


def test_servers_take_turns_and_the_other_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    @contextmanager
    def started(plan: Plan, server: Server, logs: Path) -> Iterator[Server]:
        turns.append(f"+{server.name}")
        yield server
        turns.append(f"-{server.name}")

    @contextmanager
    def frozen(server: Server) -> Iterator[None]:
        turns.append(f"({server.name}:")
        yield
        turns.append(")")

    def measured(plan: Plan, server: Server, process: Server, turn: Turn) -> Block:
        assert process is server
        turns.append(f"{server.name} {turn.run.streams}")
        return block(server.name, turn, 1)

    monkeypatch.setattr(serve, "started", started)
    monkeypatch.setattr(serve, "frozen", frozen)
    monkeypatch.setattr(serve, "block", measured)
    monkeypatch.setattr(serve, "SETTLE", 0)
    assert len(list(serve.blocks_of(plan(starts=1, rounds=2), Path()))) == 8
    assert " ".join(turns) == (
        "+bare +ours "
        "(ours: bare 8 ) (bare: ours 8 ) (bare: ours 0 ) (ours: bare 0 ) "
        "(bare: ours 8 ) (ours: bare 8 ) (ours: bare 0 ) (bare: ours 0 ) "
        "-ours -bare"
    )


def test_both_servers_of_a_pair_get_the_same_requests_and_no_pair_those_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, list[int]] = {"bare": [], "ours": []}

    async def measure(url: str, _key: str, runs: list[Run], question: Question) -> list[Summary]:
        asked[url].append(question.seed)
        return [block(url, Turn(start=0, round=0, run=run), 1).summary for run in runs]

    monkeypatch.setattr(serve, "started", lambda plan, server, logs: _as_context(server))
    monkeypatch.setattr(serve, "frozen", _as_context)
    monkeypatch.setattr(serve, "cpu_seconds", lambda _: 0.0)
    monkeypatch.setattr(serve, "measure", measure)
    monkeypatch.setattr(serve, "SETTLE", 0)
    list(serve.blocks_of(plan(starts=2, rounds=2), Path()))
    assert asked["bare"] == asked["ours"]
    assert len(set(asked["ours"])) == 8


@contextmanager
def _as_context(value: object) -> Iterator[object]:
    yield value


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
    command = bare(config, tmp_path).command
    assert {"--max-num-seqs=7", "--enforce-eager", "--dtype=bfloat16", f"--model={tmp_path}"} <= set(command)
    assert not any("executor" in word for word in command)


def comparisons() -> list[Comparison]:
    return [compare(blocks(run, SPEEDS), run) for run in (CLOSED, OPEN)]


def test_a_table_has_the_scatter_beside_the_ratio() -> None:
    found = comparisons()
    assert "0.970  {:.3f}-{:.3f}".format(*found[0].interval) in table(found)
    assert "0.990 0.950" in table(found)
    assert "10 20 30 / 11 21 32" in table(found)


def test_the_plots_are_pictures(tmp_path: Path) -> None:
    draw(comparisons(), tmp_path / "new")
    for name in ("ratio", "latency"):
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_help_needs_no_server() -> None:
    result = CliRunner().invoke(serve.main, ["--help"])
    assert result.exit_code == 0
    assert "front door against bare vLLM" in result.stdout
