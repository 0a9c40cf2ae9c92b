"""The RDMA devices that this pod may use, from sysfs: what NCCL must be told of them.

A shared device plugin shows a pod every device of its node in sysfs, and gives it only some: those whose character
device is in ``/dev/infiniband``. Of RoCE's addresses (GIDs) NCCL wants an index that means "RoCE v2", the routable one,
on every device; one with an IPv4 address is preferred, as those are the ones that networks are set up for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAPPED_IPV4 = "0000:0000:0000:0000:0000:ffff:"
_NO_ADDRESS = "0000:0000:0000:0000:0000:0000:0000:0000"


@dataclass(frozen=True, kw_only=True)
class RdmaPort:
    """An active port. ``gid_indexes`` are those of RoCE v2, best first; empty on InfiniBand, which needs none."""

    device: str
    number: int
    roce: bool
    gid_indexes: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.device}:{self.number}"


def rdma_ports(sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> list[RdmaPort]:
    """Active ports of usable devices, by name."""
    usable = sorted(set(_usable_devices(sys, dev)))
    ports = (port for device in usable for port in _ports(sys / "class/infiniband" / device))
    return [port for port in ports if not port.roce or port.gid_indexes]


def common_gid_index(ports: list[RdmaPort]) -> int | None:
    """The best index that means RoCE v2 on all of them; None if there is none, or none is needed."""
    roce = [port.gid_indexes for port in ports if port.roce]
    if not roce:
        return None
    return next((index for index in roce[0] if all(index in other for other in roce)), None)


def environment(ports: list[RdmaPort]) -> dict[str, str]:
    """For NCCL; ``=`` asks for exactly these names, where a bare one would be a prefix."""
    if not ports:
        return {}
    index = common_gid_index(ports)
    gid = {} if index is None else {"NCCL_IB_GID_INDEX": str(index)}
    return {"NCCL_IB_HCA": "=" + ",".join(port.name for port in ports), **gid}


def _usable_devices(sys: Path, dev: Path) -> Iterator[str]:
    for verbs in (sys / "class/infiniband_verbs").glob("uverbs*"):
        if (dev / "infiniband" / verbs.name).exists():
            yield _read(verbs / "ibdev")


def _ports(device: Path) -> Iterator[RdmaPort]:
    for port in sorted((device / "ports").glob("*"), key=lambda path: int(path.name)):
        if _read(port / "state").endswith("ACTIVE"):  # "4: ACTIVE"
            roce = _read(port / "link_layer") == "Ethernet"
            indexes = tuple(_roce_v2(port)) if roce else ()
            yield RdmaPort(device=device.name, number=int(port.name), roce=roce, gid_indexes=indexes)


def _roce_v2(port: Path) -> list[int]:
    found = []
    for kind in (port / "gid_attrs/types").glob("*"):
        address = _read(port / "gids" / kind.name)
        if _read(kind) == "RoCE v2" and address not in {"", _NO_ADDRESS}:
            found.append((not address.startswith(_MAPPED_IPV4), int(kind.name)))
    return [index for _, index in sorted(found)]


def _read(path: Path) -> str:
    """Empty when there is nothing: the kernel answers with an error for an entry of its table that isn't used."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
