"""What bench/controlplane.py writes, and how it sees when pods are there."""

import asyncio
import copy
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import yaml
from hunyuan_operator import login
from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.build.access import token_secret
from hunyuan_operator.build.deployment import build
from hunyuan_operator.cluster.client import APPLY, MERGE_PATCH, ApiClient, Call
from hunyuan_operator.cluster.kinds import BY_TYPE, DEPLOYMENT
from hunyuan_operator.observe.world import Observed
from hunyuan_operator.plan.deployment import plan_deployment

from tests import cluster as testbed
from tests import stack

NAMESPACE = "bench"
IMAGE = "runtime:test"
_METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_POD = BY_TYPE["v1", "Pod"]


@dataclass
class Times:
    """Monotonic seconds."""

    created: dict[str, float] = field(default_factory=dict)
    """When the API server had stored the resource."""
    pods: dict[str, list[float]] = field(default_factory=dict)
    """When the watch told of each of its pods."""

    @property
    def waits(self) -> list[float]:
        return [max(self.pods[name]) - created for name, created in self.created.items()]

    @property
    def total(self) -> float:
        return max(map(max, self.pods.values())) - min(self.created.values())


def deployment(number: int) -> dict[str, Any]:
    """The tiny example under a name of its own. A failed group starts anew after a second."""
    manifest: dict[str, Any] = copy.deepcopy(_EXAMPLE)
    manifest["metadata"] = {"name": f"hyd-{number:05}", "namespace": NAMESPACE}
    manifest["spec"]["restart"] = {"backoff": {"initial": "1s", "max": "30s"}}
    return manifest


_EXAMPLE: dict[str, Any] = yaml.safe_load((stack.ROOT / "examples/tiny-deployment.yaml").read_text())


class Api:
    """The test bed's API server as its administrator."""

    def __init__(self, cluster: testbed.Cluster) -> None:
        os.environ["KUBECONFIG"] = str(cluster.kubeconfig)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ApiClient]:
        async with ApiClient(login.credentials, time.monotonic, lambda *_: None) as client:
            yield client

    async def create_and_watch(self, deployments: int, pods: int, patience: float) -> Times:
        """Create resources as fast as the API server takes them, while the operator makes their pods."""
        times = Times()
        async with self.client() as client:

            async def create(number: int) -> None:
                manifest = deployment(number)
                await _post(client, manifest)
                times.created[manifest["metadata"]["name"]] = time.monotonic()

            def seen(pod: dict[str, Any], kind: str) -> bool:
                owner = pod["metadata"]["labels"].get(names.DEPLOYMENT)
                if kind == "ADDED" and owner:
                    times.pods.setdefault(owner, []).append(time.monotonic())
                return sum(map(len, times.pods.values())) >= deployments * pods

            async with asyncio.timeout(patience):
                await asyncio.gather(watch_pods(seen), _at_a_time(8, deployments, create))
        return times

    async def floor(self, deployments: int, clients: int) -> float:
        """Seconds to write the same objects by server-side apply, each deployment's in the operator's order."""
        async with self.client() as client:

            async def write(number: int) -> None:
                stored = await _post(client, deployment(number))
                for manifest in objects_of(stored):
                    await _apply(client, manifest)

            began = time.monotonic()
            await _at_a_time(clients, deployments, write)
            return time.monotonic() - began


def objects_of(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """All that the operator makes for a new resource."""
    resource = HunyuanDeployment.parse(stored)
    plan = plan_deployment(resource, Observed(), IMAGE, datetime.now(UTC))
    wanted = build(resource, plan, IMAGE)
    return [*wanted.shared, token_secret(resource, wanted.token, "0" * 64), *wanted.workload]


async def fail_pods(api: Api, groups: int, patience: float) -> float:
    """A container of rank 1 of so many groups ends; seconds until each has two running pods of a new attempt."""
    healed: dict[str, set[str]] = {}
    victims = [f"hyd-{number:05}" for number in range(groups)]

    def seen(pod: dict[str, Any], kind: str) -> bool:
        labels = pod["metadata"]["labels"]
        if kind != "DELETED" and labels.get(names.ATTEMPT) == "2":
            healed.setdefault(labels[names.DEPLOYMENT], set()).add(labels[names.RANK])
        return sum(len(ranks) == 2 for ranks in healed.values()) >= groups

    async with api.client() as client:

        async def fail(number: int) -> None:
            ended = {"exitCode": 75, "reason": "Error", "finishedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            status = {
                "phase": "Failed",
                "containerStatuses": [
                    {
                        "name": "runtime",
                        "image": IMAGE,
                        "imageID": "",
                        "ready": False,
                        "restartCount": 0,
                        "state": {"terminated": ended},
                    }
                ],
            }
            path = _POD.path(NAMESPACE, names.pod_name(victims[number], 0, 1, 1), "status")
            await client.json(Call(method="PATCH", path=path, body={"status": status}, content_type=MERGE_PATCH))

        began = time.monotonic()
        async with asyncio.timeout(patience):
            await asyncio.gather(watch_pods(seen), _at_a_time(16, groups, fail))
        return time.monotonic() - began


async def watch_pods(seen: Callable[[dict[str, Any], str], bool]) -> None:
    """Until ``seen`` (a pod's metadata, and the kind of event) returns True. Only metadata is sent."""
    credentials = login.credentials()
    params = {"watch": "true", "labelSelector": names.DEPLOYMENT}
    headers = {**credentials.headers, "Accept": _METADATA}
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session,
        session.get(
            credentials.server + _POD.path(NAMESPACE), params=params, headers=headers, ssl=credentials.tls
        ) as answer,
    ):
        answer.raise_for_status()
        async for line in answer.content:
            event = json.loads(line)
            if seen(event["object"], event["type"]):
                return


async def _at_a_time(limit: int, number: int, work: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(number))

    async def worker() -> None:
        for each in numbers:
            await work(each)

    async with asyncio.TaskGroup() as group:
        for _ in range(limit):
            group.create_task(worker())


async def _post(client: ApiClient, manifest: dict[str, Any]) -> dict[str, Any]:
    return await client.json(Call(method="POST", path=DEPLOYMENT.path(NAMESPACE), body=manifest))


async def _apply(client: ApiClient, manifest: dict[str, Any]) -> None:
    path = BY_TYPE[manifest["apiVersion"], manifest["kind"]].path(NAMESPACE, manifest["metadata"]["name"])
    params = {"fieldManager": "bench", "force": "true"}
    await client.json(Call(method="PATCH", path=path, params=params, body=manifest, content_type=APPLY))
