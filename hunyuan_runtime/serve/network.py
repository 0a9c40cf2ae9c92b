"""Which network interface carries the pod's address: what gloo and NCCL must be told on a host with several."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import psutil

from hunyuan_runtime.termination import Cause, RuntimeFailure


class Address(Protocol):
    """The part of psutil's ``snicaddr`` that is read."""

    @property
    def address(self) -> str: ...


def interface_of(pod_ip: str, interfaces: Mapping[str, Iterable[Address]] | None = None) -> str:
    """The name of the interface that has ``pod_ip``.

    Raises:
        RuntimeFailure: ``ConfigInvalid``, no interface has it.

    """
    known: Mapping[str, Iterable[Address]] = psutil.net_if_addrs() if interfaces is None else interfaces
    for name, addresses in known.items():
        if any(found.address.partition("%")[0] == pod_ip for found in addresses):
            return name
    raise RuntimeFailure(
        Cause.ConfigInvalid,
        f"no network interface has the address {pod_ip}; found {', '.join(sorted(known)) or 'none'}",
    )
