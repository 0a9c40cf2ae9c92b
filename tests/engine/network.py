"""Pods' networks without Kubernetes: network namespaces on a bridge, reachable from this machine."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def pod_networks(count: int) -> Iterator[list[tuple[str, str]]]:
    """``(namespace, address)`` of each; all of it is named after this process and gone afterwards. Needs root."""
    name, subnet = f"hyt{os.getpid()}", f"10.213.{os.getpid() % 200 + 1}"
    with ExitStack() as undo:
        _ip("link", "add", name, "type", "bridge")
        undo.callback(_ip, "link", "del", name)
        _ip("addr", "add", f"{subnet}.1/24", "dev", name)
        _ip("link", "set", name, "up")
        pods = []
        for index in range(count):
            namespace, veth, address = f"{name}-{index}", f"{name}v{index}", f"{subnet}.{10 + index}"
            _ip("netns", "add", namespace)
            undo.callback(_ip, "netns", "del", namespace)
            _ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            undo.callback(_ip, "link", "del", veth)  # a namespace takes its end with it too, but some time later
            _ip("link", "set", veth, "master", name, "up")
            for command in (("addr", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                _ip("-n", namespace, *command)
            _ip("-n", namespace, "link", "set", "lo", "up")
            pods.append((namespace, address))
        yield pods


@contextmanager
def cut_off(namespace: str) -> Iterator[None]:
    """The pod's only cable is pulled meanwhile."""
    _ip("-n", namespace, "link", "set", "eth0", "down")
    try:
        yield
    finally:
        _ip("-n", namespace, "link", "set", "eth0", "up")


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True)
