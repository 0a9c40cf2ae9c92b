"""The preflight of real pods on a network that is broken in one way at a time; no model is ever loaded here."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import cluster as testbed
from tests import stack
from tests.cluster.testbed import NODES
from tests.e2e import matrix
from tests.stack import DEMO_NAMESPACE as NAMESPACE
from tests.wire import DEVICE, inside, wire

pytestmark = pytest.mark.cluster

NAME = "links"
EXAMPLE = stack.ROOT / "examples/tiny-deployment.yaml"
VERDICT = 60
"""Seconds from ``kubectl apply`` to a verdict: pods start within ten, what is silent is waited for for twenty."""


@pytest.fixture
def submit(cluster: testbed.Cluster, models: Path) -> Iterator[Callable[..., float]]:
    """Apply the tiny example under another name with fields of its spec replaced, and say when; gone after the test."""

    def submit(**spec: Any) -> float:
        resource = yaml.safe_load(EXAMPLE.read_text())
        resource["metadata"] = {"name": NAME, "namespace": NAMESPACE}
        resource["spec"] |= {"restart": {"limit": 0}} | spec
        stack.apply(cluster, resource)
        return time.time()

    yield submit
    cluster.kubectl("-n", NAMESPACE, "delete", "hyd", NAME, "--ignore-not-found")
    stack.wait_until("its pods are gone", lambda: not pods(cluster), timeout=120)


def pods(cluster: testbed.Cluster) -> list[dict[str, Any]]:
    return stack.list_of(cluster, "pods", NAMESPACE, f"hunyuan.dev/deployment={NAME}")


def verdict(cluster: testbed.Cluster, status: str) -> dict[str, Any]:
    """The whole status once NetworkVerified has that status."""
    found = stack.wait_condition(cluster, NAME, NAMESPACE, ("NetworkVerified", status), timeout=VERDICT)
    print(stack.condition(found, "NetworkVerified"))
    return dict(found["status"])


def failure(cluster: testbed.Cluster, fault: tuple[str, float], reason: str, *words: str) -> dict[str, Any]:
    """That the preflight fails so, that the message has these words, and that the culprit's pod and node are named.

    ``fault`` is which one it is, and since when.
    """
    status = verdict(cluster, "False")
    matrix.record(fault[0], seen=time.time() - fault[1], reason=reason)
    told = stack.condition({"status": status}, "NetworkVerified")
    cause = status["lastFailure"]
    assert (told["reason"], cause["reason"], cause["container"]) == (reason, reason, "preflight")
    assert cause["retryable"]
    assert [word for word in words if word not in told["message"]] == []
    assert cause["node"] in {node.name for node in NODES}
    assert f"{cause['pod']} on {cause['node']}" in told["message"]
    return dict(cause)


def test_a_good_network_is_verified_with_its_numbers_and_costs_seconds(
    cluster: testbed.Cluster, submit: Callable[..., float]
) -> None:
    submit()
    status = verdict(cluster, "True")
    told = stack.condition({"status": status}, "NetworkVerified")
    assert told["reason"] == "LinksVerified"
    assert all(word in told["message"] for word in ("1 link over eth0", "Gbit/s (node", "ms a round trip"))
    states = [pod["status"]["initContainerStatuses"][0]["state"] for pod in pods(cluster)]
    spans = [
        [datetime.fromisoformat(state["terminated"][key]) for key in ("startedAt", "finishedAt")]
        for state in states
        if "terminated" in state
    ]
    together = max(end for _, end in spans) - max(begin for begin, _ in spans)
    print(f"from the last pod's start to the verdict: {together.total_seconds():.0f} s")
    assert together.total_seconds() <= 10, "about 2 s when nothing else runs"


def test_a_missing_interface_is_named_with_what_is_there(
    cluster: testbed.Cluster, submit: Callable[..., float]
) -> None:
    began = submit(network={"interface": "net7"})
    failure(
        cluster, ("no-device", began), "NetworkDeviceMissing", "no network interface net7", "its interfaces: eth0 (10."
    )


def test_a_broken_dns_record_is_told(cluster: testbed.Cluster, submit: Callable[..., float]) -> None:
    submit(suspend=True)  # which makes the Service and no pods
    stack.wait_until(
        "the Service is there",
        lambda: cluster.kubectl("-n", NAMESPACE, "get", "service", f"{NAME}-pods", "--ignore-not-found"),
        timeout=30,
    )
    nobody = json.dumps({"spec": {"selector": {"hunyuan.dev/deployment": "nobody"}}})
    cluster.kubectl("-n", NAMESPACE, "patch", "service", f"{NAME}-pods", "--type=merge", "--patch", nobody)
    began = submit(suspend=False)
    failure(cluster, ("dns", began), "NetworkFailed", f"no DNS record for {NAME}-g0-1-0.{NAME}-pods")


@contextmanager
def dropped_port() -> Iterator[None]:
    """New connections to Ray's head, from one node to the other."""
    rule = ["FORWARD", "-p", "tcp", "--syn", "--dport", "6379", "-j", "DROP"]
    for node in NODES:
        inside(node.network, "iptables", "--wait", "-I", *rule)
    try:
        yield
    finally:
        for node in NODES:
            inside(node.network, "iptables", "--wait", "-D", *rule)


@contextmanager
def other_wire(delay_ms: int, rate: str = "") -> Iterator[None]:
    """The nodes' pods reach each other over a bad wire instead of the good one, which everything else keeps."""
    first, second = NODES
    halves = [[node.pods.replace(".0/24", part) for part in (".0/25", ".128/25")] for node in (second, first)]
    with wire((first.network, second.network), (halves[0], halves[1]), delay_ms=delay_ms):
        if rate:
            throttle = ["root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"]
            inside(second.network, "tc", "qdisc", "add", "dev", DEVICE, *throttle)
        yield


@pytest.mark.parametrize(
    ("name", "fault", "reason", "words"),
    [
        ("dropped port", dropped_port, "NetworkFailed", ["can't connect to", "port 6379 timed out"]),
        ("delay", lambda: other_wire(delay_ms=60), "NetworkSlow", ["a round trip takes 1", "more than 50 ms"]),
        (
            "throttle",
            lambda: other_wire(delay_ms=0, rate="10mbit"),
            "NetworkSlow",
            ["Mbit/s arrive, less than 100 Mbit/s"],
        ),
    ],
    ids=["dropped port", "delay", "throttle"],
)
def test_a_bad_link_is_told_with_both_pods_both_nodes_and_the_interface(
    cluster: testbed.Cluster,
    submit: Callable[..., float],
    name: str,
    fault: Callable[[], AbstractContextManager[None]],
    reason: str,
    words: list[str],
) -> None:
    with fault():
        began = submit()
        failure(
            cluster,
            (name, began),
            reason,
            *words,
            *(node.name for node in NODES),
            f"{NAME}-g0-1-0",
            f"{NAME}-g0-1-1",
            "(eth0, ",
        )
