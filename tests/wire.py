"""A wire between two network namespaces that takes its time; ``tc netem`` does this too, where the kernel has it.

``python -m tests.wire MILLISECONDS NAMESPACE NAMESPACE`` (files, as under /run/netns) gives each of the two a device
:data:`DEVICE`, without addresses or routes, and carries packets between them until it is ended. The devices, and every
route over them, go with the process.
"""

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEVICE = "wire0"
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_CLONE_NEWNET = 0x40000000


@contextmanager
def wire(ends: tuple[Path, Path], routes: tuple[list[str], list[str]], *, delay_ms: int = 0) -> Iterator[None]:
    """Route these destinations, as seen from each end, over a wire of that delay in each direction."""
    command = [sys.executable, "-m", "tests.wire", str(delay_ms), *map(str, ends)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for end, destinations in zip(ends, routes, strict=True):
            inside(end, "ip", "link", "set", DEVICE, "up")
            for destination in destinations:
                inside(end, "ip", "route", "add", destination, "dev", DEVICE)
        yield
    finally:
        process.terminate()
        process.wait()


def inside(namespace: Path, *command: str) -> None:
    """Not ``ip netns exec``, which would hide the machine's /sys."""
    subprocess.run(["nsenter", f"--net={namespace}", *command], check=True)


def main() -> None:
    delay, *namespaces = sys.argv[1:]
    first, second = map(_open, namespaces)
    print("ready", flush=True)
    _carry({first: second, second: first}, int(delay) / 1000)


def _open(namespace: str) -> int:
    with Path(namespace).open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"can't enter {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN_NO_PI))
    return device


def _carry(to: dict[int, int], delay: float) -> None:
    under_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for source in select.select(list(to), [], [], wait)[0]:
            under_way.append((time.monotonic() + delay, to[source], os.read(source, 65536)))
        while under_way and under_way[0][0] <= time.monotonic():
            _, target, packet = under_way.popleft()
            try:
                os.write(target, packet)
            except OSError:
                continue  # a device that is down drops, as wires do


if __name__ == "__main__":
    main()
