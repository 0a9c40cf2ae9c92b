"""The preflight in network namespaces: real interfaces, firewalls and delays. The order is from quick to slow."""

import os
import resource
import socket
import threading
import time

import pytest

from hunyuan_runtime.config import Port
from hunyuan_runtime.preflight.links import PATIENCE
from hunyuan_runtime.preflight.messages import Hello, Seat
from hunyuan_runtime.termination import Cause, TerminationMessage
from tests.network.conftest import Ended, Pods
from tests.wire import DEVICE, inside, wire

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


def told(ends: list[Ended]) -> TerminationMessage:
    """What the one says that ended first."""
    first = min((end for end in ends if end.seconds and end.failure), key=lambda end: end.seconds)
    assert first.failure is not None
    print(f"{first.seconds:.1f} s: {first.failure}")
    assert first.code == Cause[first.failure.reason].exit_code
    assert first.failure.retryable
    return first.failure


def test_a_good_network_is_measured_at_the_cost_of_seconds(pods: Pods) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    leader, worker = pods.preflight()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(leader.text, f"{leader.seconds:.1f} s, of both processors {cost:.1f} s")
    assert (leader.code, worker.code) == (0, 0)
    assert leader.report is not None
    assert (leader.report.interface, leader.report.links) == ("eth0", 1)
    assert leader.report.bits_per_second > 100_000_000
    assert 0 < leader.report.latency_ms < 50
    assert worker.text == ""
    assert cost < 5, "about 2 s, whatever else the machine does meanwhile"


def test_every_pair_of_three_is_measured(three_pods: Pods) -> None:
    leader, *workers = three_pods.preflight()
    assert leader.report is not None
    assert leader.report.links == 3
    assert [worker.code for worker in workers] == [0, 0]


def test_the_ports_are_free_for_the_runtime_afterwards(pods: Pods) -> None:
    pods.preflight()
    assert [end.code for end in pods.preflight()] == [0, 0]


def test_strangers_who_reach_the_port_are_not_listened_to(pods: Pods) -> None:
    seat = Seat(
        rank=1, pod="pod-1", node="", host="", pod_ip="10.9.9.9", interface="eth0", address="10.9.9.9", data_port=1
    )
    said = [b"GET / HTTP/1.1\r\n\r\n", f"{Hello(secret='a guess', seat=seat).model_dump_json()}\n".encode()]
    done, heard = threading.Event(), 0
    leader = {"pod-0.pods": pods.records.pop("pod-0.pods")}  # the worker finds it when strangers have spoken

    def bother() -> None:
        nonlocal heard
        while not done.wait(0.02):
            try:
                with socket.create_connection((pods.address(0), Port.PREFLIGHT.value), timeout=1) as connection:
                    connection.sendall(said[heard % 2])
                    connection.recv(1)
                    heard += 1
                    if heard == 2:
                        pods.publish(**leader)
            except OSError:
                continue  # not there yet, or no more

    stranger = threading.Thread(target=bother)
    stranger.start()
    try:
        ends = pods.preflight()
    finally:
        done.set()
        stranger.join()
    assert [end.code for end in ends] == [0, 0]
    assert heard >= 2


def test_a_named_interface_carries_what_is_measured(pods: Pods) -> None:
    for rank in (0, 1):
        pods.inside(rank, "ip", "link", "add", "link", "eth0", "name", "net1", "type", "macvlan", "mode", "bridge")
        pods.inside(rank, "ip", "address", "add", f"10.99.0.{rank + 1}/24", "dev", "net1")
        pods.inside(rank, "ip", "link", "set", "net1", "up")
    leader, _ = pods.preflight(interface="net1")
    assert leader.report is not None
    assert leader.report.interface == "net1"


def test_a_missing_interface_names_the_pod_the_node_and_what_is_there(pods: Pods) -> None:
    failure = told(pods.preflight(interface="net1"))
    assert failure.reason == "NetworkDeviceMissing"
    parts = ("pod-", "node-", "no network interface net1", f"eth0 ({pods.address(failure.rank)}", "lo (127.0.0.1")
    assert all(part in failure.message for part in parts)


def test_rdma_that_is_asked_for_and_not_there_fails(pods: Pods) -> None:
    failure = told(pods.preflight(rdma=True))
    assert failure.reason == "NetworkDeviceMissing"
    assert "no active RDMA port" in failure.message


def test_a_record_that_points_elsewhere_is_told_with_both_addresses(pods: Pods) -> None:
    pods.records["pod-1.pods"] = "10.98.0.7"
    failure = told(pods.preflight())
    assert failure.reason == "NetworkFailed"
    assert f"DNS says pod-1.pods is 10.98.0.7, but it is {pods.address(1)}" in failure.message


@pytest.mark.parametrize("rank", [0, 1])
def test_a_missing_record_is_told_though_other_pods_could_be_late(pods: Pods, rank: int) -> None:
    del pods.records[f"pod-{rank}.pods"]
    failure = told(pods.preflight())
    assert failure.reason == "NetworkFailed"
    assert f"no DNS record for pod-{rank}.pods" in failure.message


@pytest.mark.parametrize("port", [Port.RAY_GCS, Port.RAY_NODE_MANAGER, Port.STATUS])
def test_a_dropped_port_names_both_ends_and_the_port(pods: Pods, port: Port) -> None:
    pods.inside(1, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", str(int(port)), "-j", "DROP")
    failure = told(pods.preflight())
    assert failure.reason == "NetworkFailed"
    parts = ("pod-0 on node-0 (eth0, ", "can't connect to pod-1 on node-1 (eth0, ", f"port {int(port)} timed out")
    assert all(part in failure.message for part in parts)


def test_a_leader_that_cannot_be_reached_at_all_is_told_before_ranks_would_have_to_join(pods: Pods) -> None:
    pods.inside(0, "iptables", "-A", "INPUT", "-i", "eth0", "-j", "DROP")
    failure = told(pods.preflight())
    assert (failure.reason, failure.rank) == ("NetworkFailed", 1)
    assert f"pod-1 on node-1 (eth0, {pods.address(1)}) can't reach pod-0 port 8002: timed out" in failure.message


def test_a_port_beyond_the_known_ones_that_is_dropped_is_found_by_measuring(pods: Pods) -> None:
    """What gloo, NCCL and vLLM's queues use; a NetworkPolicy that lists only Ray's ports would do this."""
    known = "6379:6499,8000:8002"
    pods.inside(
        1, "iptables", "-A", "INPUT", "-i", "eth0", "-p", "tcp", "--syn",
        "-m", "multiport", "!", "--dports", known, "-j", "DROP",
    )  # fmt: skip
    failure = told(pods.preflight())
    assert failure.reason == "NetworkFailed"
    assert "can't measure the link to pod-1 on node-1" in failure.message


def test_a_throttled_pod_among_three_is_blamed_and_ends_first(three_pods: Pods) -> None:
    throttle = ("root", "tbf", "rate", "10mbit", "burst", "32kbit", "latency", "400ms")
    three_pods.inside(1, "tc", "qdisc", "add", "dev", "eth0", *throttle)
    failure = told(three_pods.preflight())
    assert (failure.reason, failure.rank) == ("NetworkSlow", 1)
    assert failure.ranks[0] == 1
    assert "pod-1 on node-1 (eth0, " in failure.message
    assert "Mbit/s arrive, less than 100 Mbit/s" in failure.message


def test_the_limits_are_the_specs(pods: Pods) -> None:
    throttle = ("root", "tbf", "rate", "50mbit", "burst", "64kbit", "latency", "400ms")
    pods.inside(1, "tc", "qdisc", "add", "dev", "eth0", *throttle)
    leader, _ = pods.preflight(min_bits_per_second=10_000_000)
    assert leader.report is not None
    assert 10e6 < leader.report.bits_per_second < 80e6
    assert leader.report.slowest == "node-1 to node-0"


def test_a_delayed_link_is_told_with_its_round_trip(pods: Pods) -> None:
    ends = (pods.namespace(0), pods.namespace(1))
    with wire(ends, ([f"{pods.address(1)}/32"], [f"{pods.address(0)}/32"]), delay_ms=60):
        for rank in (0, 1):  # as the addresses are eth0's, routes over the wire have to say so
            inside(ends[rank], "ip", "route", "change", f"{pods.address(1 - rank)}/32", "dev", DEVICE,
                   "src", pods.address(rank))  # fmt: skip
        failure = told(pods.preflight(min_bits_per_second=1))
    assert failure.reason == "NetworkSlow"
    assert "a round trip takes 12" in failure.message
    assert "more than 50 ms" in failure.message


def test_a_rank_that_never_comes_is_named_when_time_is_up(three_pods: Pods) -> None:
    three_pods.inside(2, "iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", "8002", "-j", "REJECT")
    began = time.monotonic()
    failure = told(three_pods.preflight(join_timeout_seconds=5))
    assert time.monotonic() - began < PATIENCE
    assert failure.reason in {"RanksMissing", "LeaderUnreachable"}
    assert "pod-2" in failure.message or failure.rank == 2
