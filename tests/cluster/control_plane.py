"""etcd, API server, controller manager and scheduler, as processes of the machine."""

import shutil
from pathlib import Path

from tests.cluster import credentials
from tests.cluster.daemons import Daemon
from tests.cluster.kubectl import Kubectl
from tests.cluster.network import ADDRESS, API_PORT, PODS, SERVICES
from tests.cluster.paths import AUDIT_LOG, KUBECONFIGS, PKI, STATE
from tests.cluster.waiting import wait_until

_AUDIT_POLICY = Path(__file__).parent / "manifests/audit-policy.yaml"
ETCD_PORTS = (12379, 12380)
"""On loopback, and not etcd's usual ones: a machine may run an etcd of its own."""


def ensure(binaries: Path, kubectl: Kubectl) -> None:
    """Start what doesn't run; returns when the API server is ready."""
    credentials.ensure()
    shutil.copy(_AUDIT_POLICY, STATE)  # the checkout that started the API server may go
    etcd, server, *clients = daemons(binaries)
    etcd.ensure()
    server.ensure()
    wait_until(
        "the API server is ready",
        lambda: kubectl.succeeds("get", "--raw", "/readyz"),
        timeout=90,
        state=server.log_tail,
    )
    for client in clients:
        client.ensure()


def daemons(binaries: Path) -> list[Daemon]:
    """In the order of their start."""
    flags = {
        "etcd": _etcd(),
        "kube-apiserver": _api_server(),
        "kube-controller-manager": _controller_manager(),
        "kube-scheduler": _scheduler(),
    }
    inputs = {"kube-apiserver": _AUDIT_POLICY.read_text()}
    return [
        Daemon(
            name, (str(binaries / name), *(f"--{key}={value}" for key, value in values.items())), inputs.get(name, "")
        )
        for name, values in flags.items()
    ]


def _etcd() -> dict[str, str]:
    client, peer = (f"http://127.0.0.1:{port}" for port in ETCD_PORTS)
    return {
        "data-dir": str(STATE / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",  # the cluster doesn't outlive the machine's power anyway
    }


def _api_server() -> dict[str, str]:
    return {
        "etcd-servers": f"http://127.0.0.1:{ETCD_PORTS[0]}",
        "bind-address": ADDRESS,  # nothing outside the machine reaches it
        "secure-port": str(API_PORT),
        "advertise-address": ADDRESS,
        "service-cluster-ip-range": SERVICES,
        "tls-cert-file": str(PKI / "apiserver.crt"),
        "tls-private-key-file": str(PKI / "apiserver.key"),
        "client-ca-file": str(PKI / "ca.crt"),
        "token-auth-file": str(credentials.TOKENS),
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": str(PKI / "accounts.pub"),
        "service-account-signing-key-file": str(PKI / "accounts.key"),
        "kubelet-client-certificate": str(PKI / "kubelet-client.crt"),
        "kubelet-client-key": str(PKI / "kubelet-client.key"),
        "kubelet-preferred-address-types": "InternalIP",
        "audit-policy-file": str(STATE / _AUDIT_POLICY.name),
        "audit-log-path": str(AUDIT_LOG),
        "audit-log-maxsize": "100",  # MB
        "audit-log-maxbackup": "1",
    }


def _controller_manager() -> dict[str, str]:
    return {
        "kubeconfig": str(KUBECONFIGS / "kube-controller-manager"),
        "service-account-private-key-file": str(PKI / "accounts.key"),
        "root-ca-file": str(PKI / "ca.crt"),
        "cluster-signing-cert-file": str(PKI / "ca.crt"),
        "cluster-signing-key-file": str(PKI / "ca.key"),
        "use-service-account-credentials": "true",
        "cluster-cidr": PODS,
        "leader-elect": "false",
        "secure-port": "0",
    }


def _scheduler() -> dict[str, str]:
    return {"kubeconfig": str(KUBECONFIGS / "kube-scheduler"), "leader-elect": "false", "secure-port": "0"}
