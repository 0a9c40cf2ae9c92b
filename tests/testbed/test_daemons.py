"""Daemons are started once, found again, and never mistaken for another process."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import daemons
from tests.cluster.daemons import Daemon, identify, parse_stat, recorded, stop
from tests.cluster.waiting import wait_until


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setattr(daemons, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(daemons, "LOGS", tmp_path / "logs")
    daemon = Daemon("sleeper", ("sh", "-c", "echo started; exec sleep 1000"))
    yield daemon
    stop(recorded())


def test_a_program_name_with_blanks_and_brackets_does_not_shift_the_fields() -> None:
    numbers = " ".join(str(number) for number in range(4, 30))
    assert parse_stat(f"42 (a ) R (b)) S {numbers}") == ("S", 22)


def test_a_running_daemon_is_left_alone(daemon: Daemon) -> None:
    assert daemon.ensure()
    first = daemon.running()
    assert not daemon.ensure()
    assert daemon.running() == first is not None


def test_a_killed_daemon_is_known_to_be_dead_and_started_again(daemon: Daemon) -> None:
    daemon.ensure()
    first = daemon.running()
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_until("it is dead", lambda: daemon.running() is None, timeout=5)
    assert daemon.ensure()
    assert daemon.running() not in (None, first)


@pytest.mark.parametrize(
    "change", [{"inputs": "another file"}, {"command": ("sleep", "999")}], ids=["its file", "its command"]
)
def test_a_daemon_that_would_be_started_differently_now_is_restarted(daemon: Daemon, change: dict[str, str]) -> None:
    daemon.ensure()
    first = daemon.running()
    changed = replace(daemon, **change)  # type: ignore[arg-type]  # a table of fields of several types
    assert changed.ensure()
    assert first is not None
    assert identify(first.pid) != first
    assert changed.running() is not None


def test_a_recycled_process_id_is_not_the_daemon_and_is_not_killed(daemon: Daemon) -> None:
    """The record names this test's own process, as if it had got the id of a daemon that ended."""
    daemon.ensure()
    stop([daemon])
    record = {"pid": os.getpid(), "boot": "now", "tick": 1, "fingerprint": ""}
    (daemons.RECORDS / "sleeper.json").write_text(json.dumps(record))
    assert daemon.running() is None
    stop([daemon])
    assert recorded() == []


def test_a_daemon_that_ignores_the_request_is_killed(daemon: Daemon) -> None:
    stubborn = replace(daemon, command=("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"))
    stubborn.ensure()
    wait_until("it is deaf", lambda: "deaf" in stubborn.log_tail(), timeout=5)
    identity = stubborn.running()
    assert identity is not None
    stop([stubborn], patience=0.2)
    assert identify(identity.pid) is None
    assert recorded() == []


def test_a_restart_keeps_the_log_of_the_run_before(daemon: Daemon) -> None:
    daemon.ensure()
    wait_until("it has printed", lambda: daemon.log_tail() == "started", timeout=5)
    stop([daemon])
    daemon.ensure()
    assert daemon.log.with_suffix(".log.1").read_text() == "started\n"


def test_what_was_logged_before_the_start_does_not_count(daemon: Daemon) -> None:
    daemon.ensure()
    wait_until("it has printed", lambda: daemon.has_logged("started"), timeout=5)
    stop([daemon])
    replace(daemon, command=("sleep", "1000")).ensure()
    assert not daemon.has_logged("started")


def test_the_callers_environment_does_not_reach_a_daemon(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://elsewhere")
    printer = replace(daemon, command=("sh", "-c", "env; echo end; exec sleep 1000"))
    printer.ensure()
    wait_until("it has printed", lambda: printer.log_tail().endswith("end"), timeout=5)
    assert "elsewhere" not in printer.log_tail(lines=1000)
