"""The wires: a bridge on the machine, and a network namespace with one cable to it for each node.

Nodes reach each other's pods by routes over the bridge, and pods the API server at the bridge's own address; the
machine forwards nothing, so that no setting of its own has to change.
"""

import ipaddress
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.cluster.mounts import is_mounted
from tests.cluster.nodes import Node
from tests.cluster.shell import run, succeeds

BRIDGE = "hunyuan0"
ADDRESS = "172.30.0.1"
NODES = "172.30.0.0/24"
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
DNS = "10.96.0.10"
API_SERVICE = "10.96.0.1"
API_PORT = 6443
TAG = "hunyuan-testbed"
"""The comment on every firewall rule of the test bed, by which it finds its own."""

_RULES = (
    ("FORWARD", "-i", BRIDGE, "-o", BRIDGE),  # a firewall that also filters bridged packets
    ("INPUT", "-i", BRIDGE, "-p", "tcp", "--dport", str(API_PORT)),
)


def collisions(routes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Routes of the machine into networks that the test bed needs, out of ``ip -json route``."""
    wanted = [ipaddress.ip_network(network) for network in (NODES, PODS, SERVICES)]
    found = []
    for route in routes:
        if route["dst"] == "default" or route.get("dev") == BRIDGE:
            continue
        if any(ipaddress.ip_network(route["dst"]).overlaps(network) for network in wanted):
            found.append(f"{route['dst']} on {route.get('dev', 'no device')}")
    return found


def machine_routes() -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = json.loads(run("ip", "-4", "-json", "route", "show") or "[]")
    return routes


def ensure_bridge() -> None:
    if not exists():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    for rule in _rules():
        if not succeeds("iptables", "--wait", "-C", *rule):
            run("iptables", "--wait", "-I", *rule)


def exists() -> bool:
    return succeeds("ip", "link", "show", BRIDGE)


def connect(node: Node) -> None:
    """Give the node its network namespace, its cable and its addresses; what is there already stays."""
    if not is_mounted(node.network):
        node.network.touch()
        run("unshare", f"--net={node.network}", "true")
    if not succeeds(*_inside(node, "ip", "link", "show", "eth0")):
        subprocess.run(["ip", "link", "delete", _cable(node)], capture_output=True, check=False)  # of a lost namespace
        run("ip", "link", "add", _cable(node), "type", "veth", "peer", "name", "eth0", "netns", str(node.network))
    run("ip", "link", "set", _cable(node), "master", BRIDGE, "up")
    run(*_inside(node, "ip", "address", "replace", f"{node.address}/24", "dev", "eth0"))
    for link in ("lo", "eth0"):
        run(*_inside(node, "ip", "link", "set", link, "up"))
    run(*_inside(node, "ip", "route", "replace", "default", "via", ADDRESS))
    run(*_inside(node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))


def route(nodes: Iterable[Node]) -> None:
    """Tell the machine and every node where the others' pods are."""
    nodes = list(nodes)
    for node in nodes:
        run("ip", "route", "replace", node.pods, "via", node.address)
        for other in nodes:
            if other != node:
                run(*_inside(node, "ip", "route", "replace", other.pods, "via", other.address))


def disconnect(node: Node) -> None:
    subprocess.run(["ip", "link", "delete", _cable(node)], capture_output=True, check=False)
    if is_mounted(node.network):
        run("umount", str(node.network))


def remove_bridge() -> None:
    """The routes over it go with it."""
    if exists():
        run("ip", "link", "delete", BRIDGE)
    for rule in _rules():
        while succeeds("iptables", "--wait", "-C", *rule):
            run("iptables", "--wait", "-D", *rule)


def _rules() -> list[list[str]]:
    return [[chain, *match, "-m", "comment", "--comment", TAG, "-j", "ACCEPT"] for chain, *match in _RULES]


def _cable(node: Node) -> str:
    return f"hunyuan-{node.name}"


def _inside(node: Node, *command: str) -> list[str]:
    """Only into the network: the mount namespace comes later."""
    return ["nsenter", f"--net={node.network}", *command]
