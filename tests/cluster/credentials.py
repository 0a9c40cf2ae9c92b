"""Certificates, tokens and kubeconfigs: made once for a cluster, readable by root only."""

import secrets
from pathlib import Path

import yaml

from tests.cluster.network import ADDRESS, API_PORT, API_SERVICE
from tests.cluster.paths import KUBECONFIGS, PKI
from tests.cluster.shell import run

USERS: dict[str, tuple[str, str]] = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "node1": ("system:node:node1", "system:nodes"),
    "node2": ("system:node:node2", "system:nodes"),
}
"""Each kubeconfig's user and group; what they may do follows from the API server's built-in roles."""
TOKENS = PKI / "tokens.csv"
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def ensure() -> None:
    """Make all of it. The tokens come last, so that their file says that the rest is complete."""
    if TOKENS.exists():
        return
    for folder in (PKI, KUBECONFIGS):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    _authority()
    _certificate("apiserver", "/CN=kube-apiserver", _alternative_names())
    _certificate("kubelet-client", "/O=system:masters/CN=apiserver-kubelet")
    run("openssl", "genrsa", "-out", _file("accounts.key"), "2048")
    run("openssl", "rsa", "-in", _file("accounts.key"), "-pubout", "-out", _file("accounts.pub"))
    tokens = {name: secrets.token_hex(16) for name in USERS}
    for name, token in tokens.items():
        write_private(KUBECONFIGS / name, yaml.safe_dump(kubeconfig(name, token)))
    write_private(TOKENS, token_table(tokens))


def token_table(tokens: dict[str, str]) -> str:
    """The API server's ``--token-auth-file``: token, user, uid, groups."""
    lines = []
    for number, (name, token) in enumerate(tokens.items(), start=1):
        user, group = USERS[name]
        lines.append(f'{token},{user},{number},"{group}"' if group else f"{token},{user},{number}")
    return "\n".join(lines) + "\n"


def kubeconfig(user: str, token: str) -> dict[str, object]:
    server = {"server": f"https://{ADDRESS}:{API_PORT}", "certificate-authority": _file("ca.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": server}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        "current-context": "testbed",
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, also while it is being written."""
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)


def _authority() -> None:
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=hunyuan-testbed",
        "-keyout", _file("ca.key"), "-out", _file("ca.crt"),
    )  # fmt: skip


def _certificate(name: str, subject: str, alternative_names: str = "") -> None:
    key, request = _file(f"{name}.key"), _file(f"{name}.csr")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", key, "-out", request)
    extensions = PKI / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alternative_names}" if alternative_names else "")
    run(
        "openssl", "x509", "-req", "-in", request, "-CA", _file("ca.crt"), "-CAkey", _file("ca.key"), "-CAcreateserial",
        "-days", "3650", "-extfile", str(extensions), "-out", _file(f"{name}.crt"),
    )  # fmt: skip


def _alternative_names() -> str:
    addresses = ("127.0.0.1", API_SERVICE, ADDRESS)
    return ",".join([f"DNS:{name}" for name in _NAMES] + [f"IP:{address}" for address in addresses])


def _file(name: str) -> str:
    return str(PKI / name)
