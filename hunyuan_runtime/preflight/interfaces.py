"""The network interfaces of this pod and their addresses, from the kernel itself."""

import array
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Interfaces = Mapping[str, Sequence[str]]
"""Name → addresses, IPv4 first."""

_SIOCGIFCONF = 0x8912
_IFREQ = 40
"""Bytes of a ``struct ifreq`` on 64 bit: a name of 16, then a ``sockaddr_in`` with the address at 4."""
_ROOM = 256


def interfaces(if_inet6: Path = Path("/proc/net/if_inet6")) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for _, name in socket.if_nameindex()}
    for name, address in (*_ipv4(), *_ipv6(if_inet6)):
        found.setdefault(name, []).append(address)
    return found


def interface_of(address: str, known: Interfaces) -> str:
    """The interface that has the address; empty when none has."""
    return next((name for name, addresses in known.items() if address in addresses), "")


def address_like(model: str, addresses: Sequence[str]) -> str:
    """The first of the addresses that is of the same family as ``model``; empty when none is."""
    version = ipaddress.ip_address(model).version
    fitting = (address for address in addresses if ipaddress.ip_address(address).version == version)
    return next(fitting, "")


def source_address(peer: str) -> str:
    """The own address from which packets to ``peer`` leave, by the routing table. Sends nothing.

    Raises:
        OSError: there is no route.

    """
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 9))
        return str(probe.getsockname()[0])


def _ipv4() -> Iterator[tuple[str, str]]:
    buffer = array.array("B", bytes(_ROOM * _IFREQ))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("iL", len(buffer), buffer.buffer_info()[0])
        length = struct.unpack("iL", fcntl.ioctl(any_socket, _SIOCGIFCONF, request))[0]
    for start in range(0, length, _IFREQ):
        entry = buffer[start : start + _IFREQ].tobytes()
        label = entry[:16].partition(b"\0")[0].decode()
        yield label.partition(":")[0], socket.inet_ntoa(entry[20:24])


def _ipv6(table: Path) -> Iterator[tuple[str, str]]:
    if table.exists():
        for line in table.read_text().splitlines():
            digits, *_, name = line.split()
            yield name, str(ipaddress.IPv6Address(bytes.fromhex(digits)))
