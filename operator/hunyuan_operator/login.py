"""Credentials for the API server: those of the pod's service account, or of a kubeconfig outside a cluster."""

import os
from collections.abc import Mapping
from dataclasses import replace

import kopf

from hunyuan_operator.cluster.client import Credentials

_KOPF = kopf.OperatorSettings()


def connection() -> kopf.ConnectionInfo:
    """Read them anew. An explicit ``KUBECONFIG`` comes first, as with kubectl.

    Raises:
        kopf.LoginError: there are none.

    """
    found = None if os.environ.get("KUBECONFIG") else kopf.login_with_service_account(settings=_KOPF)
    if found is not None:
        return replace(found, server=_server(os.environ) or found.server)
    found = kopf.login_with_kubeconfig(settings=_KOPF)
    if found is None:
        raise kopf.LoginError("there is neither a service account's token nor a kubeconfig: set KUBECONFIG")
    return found


def _server(env: Mapping[str, str]) -> str:
    """By address, as client-go does: that works before the cluster's DNS does."""
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        return ""
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def credentials() -> Credentials:
    found = connection()
    return Credentials(server=found.server, headers=found.as_http_headers(), tls=found.as_ssl_context())
