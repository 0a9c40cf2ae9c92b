"""Leaders die and freeze, again and again; another follows, and no pod is ever there twice.

Nodes are played by kwok, so that pods run. All the while pods are deleted and evicted, so that the operator has
attempts to end and to begin whenever it is hit.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import cluster as testbed
from tests import stack
from tests.apiserver import audit, operator_process
from tests.apiserver.admin import Admin, Object, admin
from tests.apiserver.forked import ForkedOperator
from tests.apiserver.operator_process import Rights
from tests.apiserver.test_operator import create, runnable

pytestmark = pytest.mark.apiserver

KILLS = 100
FROZEN_EVERY = 5
"""One of so many leaders is frozen until another leads, and then goes on; the others are killed."""
DEPLOYMENTS = tuple(f"tiny-{number}" for number in range(4))
SEED = 20261124
LEASE = 1
"""Seconds: the shortest that a Lease can have."""

_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{stack.SYSTEM_NAMESPACE}/leases/hunyuan-operator"


@pytest.fixture
def slots(cluster: testbed.Cluster, tmp_path: Path) -> list[Rights]:
    """Rights for three operators, each by a token of its own, by which the audit log tells them apart."""
    audit.require(cluster)
    return [operator_process.rights(cluster, tmp_path, f"slot-{number}") for number in range(3)]


@dataclass
class Instance:
    rights: Rights
    process: ForkedOperator


@dataclass(frozen=True)
class Deposed:
    """A process that no longer led, from when another did until its end."""

    code: int
    token: str
    since: datetime
    until: datetime

    def sent(self, write: audit.Write) -> bool:
        return write.token == self.token and self.since <= write.time <= self.until


@dataclass
class Operators:
    """One process in each slot; under a new name each time, as a pod that takes another's place has."""

    api: Admin
    instances: dict[str, Instance] = field(default_factory=dict)
    begun: int = 0

    def start(self, rights: Rights) -> None:
        identity = f"op-{self.begun}"
        self.begun += 1
        environment = {**rights.environment(), "LEASE_DURATION": str(LEASE)}
        log = rights.kubeconfig.with_suffix(".log")
        self.instances[identity] = Instance(rights, ForkedOperator(identity, environment, log))

    async def leader(self, other_than: str = "") -> str:
        """Wait for one; if by itself another ended meanwhile, it is replaced."""

        async def found() -> str:
            holder = str((await self.api.get(_LEASE)).get("spec", {}).get("holderIdentity"))
            for identity, instance in list(self.instances.items()):
                if not instance.process.running:
                    self.replace(identity)
            return holder if holder != other_than and holder in self.instances else ""

        return str(await until("another leads", found))

    def replace(self, identity: str) -> None:
        self.start(self.instances.pop(identity).rights)

    async def kill(self, leader: str) -> float:
        """Seconds until another leads."""
        began = time.monotonic()
        self.instances[leader].process.end(signal.SIGKILL)
        await self.leader(other_than=leader)
        return time.monotonic() - began

    async def freeze(self, leader: str, wait: float) -> Deposed:
        """Until another leads and has had some time to work."""
        instance = self.instances.pop(leader)
        instance.process.send(signal.SIGSTOP)
        await self.leader(other_than=leader)
        since = datetime.now(UTC)
        await asyncio.sleep(wait)
        code = instance.process.end(signal.SIGCONT)
        deposed = Deposed(code, instance.rights.token, since, datetime.now(UTC))
        self.start(instance.rights)
        return deposed

    def end(self) -> None:
        for instance in self.instances.values():
            instance.process.end(signal.SIGKILL)


@asynccontextmanager
async def operators(slots: list[Rights], api: Admin) -> AsyncIterator[Operators]:
    made = Operators(api)
    try:
        for rights in slots:
            made.start(rights)
        yield made
    finally:
        made.end()


@dataclass
class Pods:
    """The pods of a namespace as a watch tells of them."""

    api: Admin
    path: str
    there: dict[str, Object] = field(default_factory=dict)
    attempts: set[tuple[str, str, str]] = field(default_factory=set)
    """All that there ever were, as ``(deployment, group, attempt)``."""

    async def follow(self) -> None:
        """For ever; fails at the first pod too many."""
        async for kind, pod in self.api.watch(self.path):
            if kind == "DELETED":
                del self.there[pod["metadata"]["name"]]
            else:
                self.there[pod["metadata"]["name"]] = pod
                self._check(*_place(pod))

    def _check(self, deployment: str, group: str) -> None:
        """Of a group there are pods of one attempt, and one of each rank."""
        pods = [pod["metadata"]["labels"] for pod in self.there.values() if _place(pod) == (deployment, group)]
        attempts = {labels["hunyuan.dev/attempt"] for labels in pods}
        ranks = [labels["hunyuan.dev/rank"] for labels in pods]
        assert len(attempts) == 1, f"{deployment} {group}: attempts {attempts} at once"
        assert len(ranks) == len(set(ranks)), f"{deployment} {group}: ranks {ranks}"
        self.attempts.add((deployment, group, attempts.pop()))

    async def disturb(self, rng: random.Random) -> None:
        """For ever: someone deletes a pod, or a node evicts one."""
        while True:
            await asyncio.sleep(rng.uniform(0.1, 0.6))
            if self.there:
                pod = f"{self.path}/{rng.choice(sorted(self.there))}"
                if rng.random() < 0.5:
                    await self.api.send("DELETE", pod)
                else:
                    status = {"phase": "Failed", "reason": "Evicted", "message": "by the test"}
                    await self.api.send("PATCH", f"{pod}/status", {"status": status})


def _place(pod: Object) -> tuple[str, str]:
    labels = pod["metadata"]["labels"]
    return labels["hunyuan.dev/deployment"], labels["hunyuan.dev/group"]


async def until(what: str, check: Callable[[], Awaitable[Any]], patience: float = 60) -> Any:
    """Poll twenty times a second until ``check`` gives something true, and return that."""
    deadline = time.monotonic() + patience
    while not (result := await check()):
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        await asyncio.sleep(0.05)
    return result


async def all_run(api: Admin, namespace: str) -> bool:
    found = await api.get(f"/apis/hunyuan.dev/v1alpha1/namespaces/{namespace}/hunyuandeployments")
    return all(stack.condition(one, "Ready").get("status") == "True" for one in found["items"])


async def test_over_a_hundred_leaders_killed_or_frozen_no_pod_is_there_twice_and_nothing_is_written_late(
    cluster: testbed.Cluster, namespace: str, slots: list[Rights], fake_nodes: None
) -> None:
    for name in DEPLOYMENTS:
        create(cluster, namespace, runnable(name))
    rng, taken, deposed = random.Random(SEED), list[float](), list[Deposed]()
    async with admin(cluster) as api, operators(slots, api) as made:
        pods = Pods(api, f"/api/v1/namespaces/{namespace}/pods")
        watching = asyncio.create_task(pods.follow())
        disturbing = asyncio.create_task(pods.disturb(rng))
        for number in range(KILLS):
            leader = await made.leader()
            await asyncio.sleep(rng.uniform(0, 0.3))
            if number % FROZEN_EVERY:
                taken.append(await made.kill(leader))
            else:
                deposed.append(await made.freeze(leader, rng.uniform(0, 0.3)))
            assert not watching.done(), watching.exception()
        disturbing.cancel()
        await until("every group runs", lambda: all_run(api, namespace))
        assert not watching.done(), watching.exception()
        watching.cancel()
    taken.sort()
    print(
        f"{KILLS} leaders ended, {len(deposed)} frozen; {len(pods.attempts)} attempts. With a Lease of {LEASE} s"
        f" a killed one was followed after {taken[len(taken) // 2]:.2f} s at the median and {taken[-1]:.2f} s at most"
    )
    # By the kernel's timer; or by itself, had it just given up when it was frozen.
    assert signal.SIGALRM in {one.code for one in deposed} <= {signal.SIGALRM, 1}
    written = audit.writes()
    assert {one.token for one in written} >= {one.token for one in deposed}
    assert [write for write in written for one in deposed if one.sent(write)] == []
    assert len(pods.there) == 2 * len(DEPLOYMENTS)
    assert len(pods.attempts) > KILLS / 4, "too little happened for this to show anything"
