"""The kernel's timer ends a process that writes on and on, and one that was frozen meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

WRITER = """
import os
from hunyuan_operator import fence
wind = fence.install()
wind(0.5)
os.write(1, b"begins\\n")
while True:
    os.write(1, b"w")
"""

Process = subprocess.Popen[bytes]


@pytest.fixture
def writer() -> Iterator[Process]:
    """Writes without end; no event loop of it would ever come to look at a clock."""
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stdout.read(7) == b"begins\n"
        yield process
        process.kill()


def test_a_busy_process_ends_and_tells_where_it_was(writer: Process) -> None:
    _, errors = writer.communicate(timeout=30)
    assert writer.returncode == signal.SIGALRM
    assert b'File "<string>", line' in errors


def test_a_process_that_was_frozen_does_nothing_more(writer: Process) -> None:
    writer.send_signal(signal.SIGSTOP)
    os.waitpid(writer.pid, os.WUNTRACED)  # until it has stopped
    assert writer.stdout is not None
    os.set_blocking(writer.stdout.fileno(), False)
    while writer.stdout.read(1 << 20):
        pass
    time.sleep(1)  # frozen for longer than its timer runs
    writer.send_signal(signal.SIGCONT)
    assert writer.wait(timeout=30) == signal.SIGALRM
    assert writer.stdout.read(1) == b""  # its end, and nothing before
