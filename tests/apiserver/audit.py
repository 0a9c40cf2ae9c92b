"""What the operator wrote, by the API server's own books: its audit log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from tests import cluster as testbed
from tests.cluster.paths import AUDIT_LOG

_CREDENTIAL = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True, kw_only=True)
class Write:
    """A request that writes, with the API server's answer. ``resource`` has its subresource; ``token`` its identity."""

    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    token: str
    time: datetime

    @property
    def done(self) -> bool:
        return self.code < 300


def writes(namespace: str = "") -> list[Write]:
    """In their order, without those of Leases; of one namespace, or of all."""
    return [write for write in _all() if namespace in ("", write.namespace)]


def _all() -> Iterator[Write]:
    for line in AUDIT_LOG.read_text().splitlines():
        event = json.loads(line)
        reference, user = event["objectRef"], event["user"]
        yield Write(
            verb=event["verb"],
            resource="/".join(filter(None, (reference["resource"], reference.get("subresource")))),
            namespace=reference.get("namespace", ""),
            name=reference.get("name", ""),
            code=event["responseStatus"]["code"],
            token=user.get("extra", {}).get(_CREDENTIAL, [""])[0],
            time=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        )


def require(cluster: testbed.Cluster) -> None:
    """Skip the test where the log is out of reach."""
    if cluster.kubeconfig is None:
        pytest.skip("the API server of a cluster of one's own keeps its audit log elsewhere, if it does")
