"""A frozen server uses no processor time, and goes on as if nothing had been."""

import subprocess
import sys
import time

import psutil
from servers import cpu_seconds, frozen

BUSY = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'while True: pass']); print(1, flush=True)"


def test_a_frozen_tree_stands_still_and_goes_on_afterwards() -> None:
    process = subprocess.Popen([sys.executable, "-c", f"{BUSY}\nwhile True: pass"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    root = psutil.Process(process.pid)
    tree = [root, *root.children(recursive=True)]
    try:
        assert len(tree) == 2
        with frozen(root):
            _wait(tree, psutil.STATUS_STOPPED)
            before = cpu_seconds(root)
            time.sleep(0.3)
            assert cpu_seconds(root) == before
        _wait(tree, psutil.STATUS_RUNNING)
    finally:
        for each in reversed(tree):
            each.kill()
        process.wait()


def _wait(tree: list[psutil.Process], status: str) -> None:
    deadline = time.monotonic() + 10
    while any(process.status() != status for process in tree):
        assert time.monotonic() < deadline
        time.sleep(0.01)
