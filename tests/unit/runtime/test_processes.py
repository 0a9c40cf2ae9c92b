"""A rank ends its whole process tree, orphans included. Run in a process of its own, which adopts them."""

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest


def run(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    head = "import os, signal, subprocess, sys, time\nfrom hunyuan_runtime.processes import *\nadopt_orphans()\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(script), *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def alive(pid: int) -> bool:
    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def test_orphans_are_adopted_and_ended_with_the_rest(tmp_path: Path) -> None:
    done = run(
        """
        children = Children()
        children.start(["sh", "-c", "sleep 300 & echo $! > " + sys.argv[1]], os.environ).wait()
        assert [p.name() for p in psutil.Process().children()] == ["sleep"]
        children.end_all()
        """,
        str(tmp_path / "pid"),
    )
    assert done.returncode == 0, done.stderr
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_time() -> None:
    done = run(
        """
        children = Children()
        stubborn = children.start(["sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"], os.environ)
        time.sleep(1)
        began = time.monotonic()
        children.end_all(grace=1)
        assert 0.9 < time.monotonic() - began < 10
        assert stubborn.wait(1) == -signal.SIGKILL, stubborn.returncode
        """
    )
    assert done.returncode == 0, done.stderr


def test_reaping_leaves_no_zombie_and_no_child_without_its_exit_code() -> None:
    done = run(
        """
        children = Children()
        started = children.start(["sh", "-c", "(sleep 0.2; exit 5) & exit 7"], os.environ)
        deadline = time.monotonic() + 10
        while psutil.Process().children() and time.monotonic() < deadline:
            children.reap_orphans()
            time.sleep(0.1)
        assert psutil.Process().children() == []
        assert started.returncode == 7
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_interrupts_what_swallows_exceptions(name: str) -> None:
    done = run(
        f"""
        stop_on_signals()
        try:
            while True:
                try:
                    os.kill(os.getpid(), signal.{name})
                    time.sleep(30)
                except Exception:
                    pass
        except Stopped as stopped:
            os.kill(os.getpid(), signal.{name})
            print(stopped, end="")
        """
    )
    assert (done.returncode, done.stdout) == (0, name), done.stderr
