"""Which interface and which RDMA devices carry this pod's share of the group's traffic.

Found in the preflight and again where Ray is started, by the same function: what was proven is what is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hunyuan_runtime.config import NetworkConfig, Rank
from hunyuan_runtime.preflight import rdma
from hunyuan_runtime.preflight.interfaces import Interfaces, address_like, interface_of, interfaces, source_address
from hunyuan_runtime.preflight.rdma import RdmaPort, rdma_ports
from hunyuan_runtime.termination import Cause, RuntimeFailure

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """``address`` is the interface's own, which need not be the pod's."""

    pod_ip: str
    interface: str
    address: str
    rdma: list[RdmaPort] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """For vLLM, gloo, tensorpipe and NCCL; ``=`` is NCCL's "exactly this name"."""
        return {
            "VLLM_HOST_IP": self.pod_ip,
            "GLOO_SOCKET_IFNAME": self.interface,
            "TP_SOCKET_IFNAME": self.interface,
            "NCCL_SOCKET_IFNAME": f"={self.interface}",
            **rdma.environment(self.rdma),
        }


@dataclass(frozen=True, kw_only=True)
class Host:
    """What is asked of the kernel."""

    interfaces: Callable[[], Interfaces] = interfaces
    source_address: Callable[[str], str] = source_address
    rdma_ports: Callable[[], list[RdmaPort]] = rdma_ports


def discover(config: NetworkConfig, rank: Rank, peer: str = "", host: Host = Host()) -> Wiring:
    """``auto`` is the interface from which packets to ``peer`` leave; without a peer, the one with the pod's address.

    Raises:
        RuntimeFailure: ``NetworkDeviceMissing``; the message names pod and node, and what is there instead.

    """
    known = host.interfaces()
    if config.interface == AUTO:
        address = _source(peer, host) or rank.pod_ip
        interface = interface_of(address, known)
    else:
        interface = config.interface if config.interface in known else ""
        address = address_like(rank.pod_ip, known.get(interface, ()))
    if not interface or not address:
        raise _missing(_what(config, rank, interface, address), rank, known)
    ports = host.rdma_ports() if config.rdma else []
    if config.rdma and not ports:
        raise _missing("no active RDMA port that it may use, though spec.network.rdma asks for one", rank, known)
    return Wiring(pod_ip=rank.pod_ip, interface=interface, address=address, rdma=ports)


def _source(peer: str, host: Host) -> str:
    """Empty without a route: that the connection fails is then told as such."""
    try:
        return host.source_address(peer) if peer else ""
    except OSError:
        return ""


def _what(config: NetworkConfig, rank: Rank, interface: str, address: str) -> str:
    if config.interface == AUTO:
        return f"no network interface with the address {address}"
    if interface:
        return f"no address like {rank.pod_ip} on network interface {interface}"
    return f"no network interface {config.interface}, which spec.network.interface names"


def _missing(what: str, rank: Rank, known: Interfaces) -> RuntimeFailure:
    there = ", ".join(f"{name} ({' '.join(addresses) or 'no address'})" for name, addresses in sorted(known.items()))
    where = f" on {rank.node}" if rank.node else ""
    message = f"{rank.pod}{where} has {what}; its interfaces: {there or 'none'}"
    return RuntimeFailure(Cause.NetworkDeviceMissing, message, ranks=(rank.index,))
