"""Which interface carries a pod's traffic, and what the engine's processes are told of it."""

import pytest

from hunyuan_runtime.config import NetworkConfig, Rank
from hunyuan_runtime.preflight.interfaces import interfaces, source_address
from hunyuan_runtime.preflight.rdma import RdmaPort
from hunyuan_runtime.preflight.wiring import Host, Wiring, discover
from hunyuan_runtime.termination import Cause, RuntimeFailure

RANK = Rank(index=1, leader="a.pods", pod_ip="10.0.0.7", peers=("a.pods", "b.pods"), node="node-1")
KNOWN = {
    "lo": ["127.0.0.1", "::1"],
    "eth0": ["10.0.0.7", "fd00::7"],
    "net1": ["fd99::7", "10.99.0.7"],
    "net2": ["fe80::2"],
    "down0": [],
}
PORT = RdmaPort(device="mlx5_0", number=1, roce=True, gid_indexes=(3, 1))


def host(source: str = "10.0.0.7", ports: tuple[RdmaPort, ...] = ()) -> Host:
    """A pod with all these interfaces, whose packets leave from ``source``; there is no route if that is empty."""

    def route(peer: str) -> str:
        if not source:
            raise OSError(101, "Network is unreachable")
        return source

    return Host(interfaces=lambda: KNOWN, source_address=route, rdma_ports=lambda: list(ports))


@pytest.mark.parametrize(
    ("interface", "source", "expected"),
    [
        pytest.param("auto", "10.0.0.7", ("eth0", "10.0.0.7"), id="auto: the pod's own"),
        pytest.param("auto", "10.99.0.7", ("net1", "10.99.0.7"), id="auto: the one that routes to the peer"),
        pytest.param("auto", "", ("eth0", "10.0.0.7"), id="auto: without a route, the pod's own"),
        pytest.param("net1", "10.0.0.7", ("net1", "10.99.0.7"), id="by name, its address of the pod's family"),
    ],
)
def test_the_interface(interface: str, source: str, expected: tuple[str, str]) -> None:
    found = discover(NetworkConfig(interface=interface), RANK, "10.0.0.1", host(source))
    assert (found.interface, found.address) == expected
    assert found.pod_ip == "10.0.0.7"


def test_without_a_peer_auto_is_the_one_with_the_pods_address() -> None:
    assert discover(NetworkConfig(), RANK, host=host("10.99.0.7")).interface == "eth0"


def test_ipv6_pods_have_ipv6_addresses() -> None:
    rank = RANK.model_copy(update={"pod_ip": "fd00::7"})
    assert discover(NetworkConfig(interface="net1"), rank, host=host()).address == "fd99::7"
    assert discover(NetworkConfig(), rank, host=host()).interface == "eth0"


@pytest.mark.parametrize(
    ("config", "rank", "words"),
    [
        pytest.param(
            NetworkConfig(interface="net7"), RANK, "no network interface net7, which spec.network.interface names",
            id="no such name",
        ),
        pytest.param(
            NetworkConfig(), RANK.model_copy(update={"pod_ip": "10.9.9.9"}),
            "no network interface with the address 10.9.9.9", id="no such address",
        ),
        pytest.param(
            NetworkConfig(interface="net2"), RANK, "no address like 10.0.0.7 on network interface net2",
            id="another family",
        ),
        pytest.param(NetworkConfig(rdma=True), RANK, "no active RDMA port", id="no RDMA"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_with_pod_node_and_what_is_there(config: NetworkConfig, rank: Rank, words: str) -> None:
    with pytest.raises(RuntimeFailure) as refused:
        discover(config, rank, host=host())
    message = str(refused.value)
    assert refused.value.cause is Cause.NetworkDeviceMissing
    assert refused.value.ranks == (1,)
    assert message.startswith(f"b on node-1 has {words}")
    assert message.endswith(
        "down0 (no address), eth0 (10.0.0.7 fd00::7), lo (127.0.0.1 ::1), net1 (fd99::7 10.99.0.7), net2 (fe80::2)"
    )


def test_the_engine_is_told_exactly_this_interface() -> None:
    wiring = Wiring(pod_ip="10.0.0.7", interface="eth0", address="10.0.0.7")
    assert wiring.environment() == {
        "VLLM_HOST_IP": "10.0.0.7",
        "GLOO_SOCKET_IFNAME": "eth0",
        "TP_SOCKET_IFNAME": "eth0",
        "NCCL_SOCKET_IFNAME": "=eth0",  # without it, eth01 would do as well
    }


def test_rdma_devices_are_looked_for_only_when_asked_for() -> None:
    with_rdma = discover(NetworkConfig(rdma=True), RANK, host=host(ports=(PORT,))).environment()
    assert (with_rdma["NCCL_IB_HCA"], with_rdma["NCCL_IB_GID_INDEX"]) == ("=mlx5_0:1", "3")
    assert "NCCL_IB_HCA" not in discover(NetworkConfig(), RANK, host=host(ports=(PORT,))).environment()


def test_this_machines_own_interfaces_are_seen() -> None:
    assert "127.0.0.1" in interfaces()["lo"]
    assert source_address("127.0.0.1") == "127.0.0.1"
