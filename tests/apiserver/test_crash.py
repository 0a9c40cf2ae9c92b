"""An operator that dies at every write comes to the same end as one that lives, on a real API server.

Each process makes one write and dies at its next, before that takes effect: so between any two writes there was a
death, and no write was lost, or made twice to any effect.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests import cluster as testbed
from tests import stack
from tests.apiserver.operator_process import NAME, STARTED, OperatorProcess, Rights
from tests.apiserver.test_operator import create, pods, tiny
from tests.apiserver.write_proxy import WriteProxy, write_proxy

pytestmark = pytest.mark.apiserver

QUIET = 4.0
"""Seconds of a leading process without a write after which there is nothing left for it to do."""
_KINDS = "pods,services,configmaps,secrets,serviceaccounts"


@pytest.fixture
def mortal(rights: Rights, namespace: str) -> Iterator[tuple[OperatorProcess, WriteProxy]]:
    """An operator that is not started yet, and what it goes through."""
    with write_proxy(rights.kubeconfig) as (proxy, kubeconfig):
        operator = OperatorProcess(replace(rights, kubeconfig=kubeconfig), "op-mortal", {"WATCH_NAMESPACES": namespace})

        def kill() -> None:
            if operator.process is not None:
                operator.process.kill()

        proxy.kill = kill
        yield operator, proxy
        if operator.process is not None:
            operator.terminate()


def live(cluster: testbed.Cluster, operator: OperatorProcess, proxy: WriteProxy) -> bool:
    """One process, until it has died or has nothing left to do. Whether it died."""
    # A process that is killed doesn't give its Lease back, and others would have to wait.
    cluster.kubectl("-n", stack.SYSTEM_NAMESPACE, "delete", "lease", NAME, "--ignore-not-found")
    proxy.writes.clear()
    operator.start()
    process = operator.process
    assert process is not None
    written, since = 0, time.monotonic()

    def over() -> bool:
        nonlocal written, since
        if process.poll() is not None:
            return True
        if len(proxy.writes) != written or not operator.leads():
            written, since = len(proxy.writes), time.monotonic()
        return time.monotonic() - since > QUIET

    stack.wait_until("it is dead, or done", over, timeout=STARTED + 60, state=lambda: operator.log)
    died = process.poll() is not None
    operator.process = None if died else process
    if not died:
        operator.terminate()
    return died


def tell(cluster: testbed.Cluster, namespace: str, name: str, work: Callable[[], None]) -> dict[str, Any]:
    """A deployment is made, a pod of it goes, a change of its spec replaces it. ``work`` lets operators do theirs."""
    resource = tiny(restart={"backoff": {"initial": "1s", "max": "1s"}})
    resource["metadata"] = {"name": name}
    create(cluster, namespace, resource)
    work()
    cluster.kubectl("-n", namespace, "delete", "pod", f"{name}-g0-1-1", "--force", "--grace-period=0")
    work()
    create(cluster, namespace, resource | {"spec": resource["spec"] | {"maxModelLen": 384}})
    work()
    end = state(cluster, namespace, name)
    cluster.kubectl("-n", namespace, "delete", "hyd", name)
    stack.wait_until("its pods are gone", lambda: not pods(cluster, namespace), timeout=60)
    return end


def state(cluster: testbed.Cluster, namespace: str, name: str) -> dict[str, Any]:
    """All but times, and what is named after the content of a configuration with the deployment's name in it."""
    status = stack.get(cluster, "hyd", name, namespace)["status"]
    children = stack.list_of(cluster, _KINDS, namespace, f"hunyuan.dev/deployment={name}")
    names = [(one["kind"], one["metadata"]["name"].removeprefix(name)) for one in children]
    failure = status["lastFailure"]
    return {
        "children": sorted((kind, "" if kind == "ConfigMap" else own) for kind, own in names),
        "groups": [
            (one["index"], one["attempt"], one["revision"], "retryAt" in one) for one in status["groupStatuses"]
        ],
        "failure": (failure["reason"], failure["pod"].removeprefix(name), failure["attempt"]),
        "conditions": [(one["type"], one["status"], one["reason"]) for one in status["conditions"]],
    }


def test_an_operator_that_dies_at_every_write_comes_to_the_same_end(
    cluster: testbed.Cluster, namespace: str, mortal: tuple[OperatorProcess, WriteProxy]
) -> None:
    operator, proxy = mortal
    deaths: list[list[str]] = []

    def live_on() -> None:
        assert not live(cluster, operator, proxy), operator.log

    def die_at_every_write() -> None:
        while live(cluster, operator, proxy):
            deaths.append(list(proxy.writes))
            assert len(deaths) < 60, deaths

    undisturbed = tell(cluster, namespace, "tiny-a", live_on)
    proxy.lifetime = 1
    assert tell(cluster, namespace, "tiny-b", die_at_every_write) == undisturbed
    print(len(deaths), "deaths, after", deaths)
    assert all(len(writes) == 1 for writes in deaths), deaths
    assert len(deaths) > 15
