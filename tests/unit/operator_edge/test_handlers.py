"""kopf's handlers fill the cache and name whom to look at."""

import asyncio
import random
from typing import Any

import pytest
from hunyuan_operator import handlers
from hunyuan_operator.cluster.cache import Cache
from hunyuan_operator.cluster.port import Key
from hunyuan_operator.workqueue import WorkQueue


def pod(version: int = 1, owner: str = "tiny") -> dict[str, Any]:
    labels = {"hunyuan.dev/deployment": owner} if owner else {}
    metadata = {"namespace": "demo", "name": "p", "uid": "u", "resourceVersion": str(version), "labels": labels}
    return {"kind": "Pod", "metadata": metadata}


async def queued(*events: tuple[str | None, dict[str, Any]]) -> tuple[set[str], bool]:
    """Names of the deployments to look at, and whether a new list was noticed."""
    queue: WorkQueue[Key] = WorkQueue(asyncio.get_running_loop(), random.Random(0))
    relisted = asyncio.Event()
    watch = handlers.on_event(Cache(), queue, relisted)
    for kind, manifest in events:
        await watch(event={"type": kind, "object": manifest}, logger=None)
    found = set()
    while len(queue):
        key = await queue.get()
        assert key is not None
        found.add(key.name)
    return found, relisted.is_set()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([("ADDED", pod())], {"tiny"}, id="a child names its owner"),
        pytest.param([("MODIFIED", pod(owner=""))], set(), id="an object without the label is none of ours"),
        pytest.param([("DELETED", pod())], {"tiny"}, id="even one that was never seen"),
        pytest.param([("ADDED", pod(1)), ("MODIFIED", pod(2, "other"))], {"tiny", "other"}, id="both owners are told"),
    ],
)
async def test_who_is_looked_at(events: list[tuple[str, dict[str, Any]]], expected: set[str]) -> None:
    assert await queued(*events) == (expected, False)


async def test_a_fine_tune_is_news_to_the_deployments_that_name_it_whatever_the_cache_knew() -> None:
    metadata = {"namespace": "demo", "name": "car", "uid": "c", "resourceVersion": "2"}
    car = {"kind": "HunyuanFineTune", "metadata": metadata}
    tiny = {"kind": "HunyuanDeployment", "metadata": metadata | {"name": "tiny", "uid": "t"}}
    tiny["spec"] = {"model": {"fineTune": {"name": "car"}}}
    cache = Cache()
    cache.put(tiny)
    cache.put(car)  # an own write
    queue: WorkQueue[Key] = WorkQueue(asyncio.get_running_loop(), random.Random(0))
    watch = handlers.on_event(cache, queue, asyncio.Event())
    await watch(event={"type": "MODIFIED", "object": car}, logger=None)
    assert {await queue.get(), await queue.get()} == {
        Key("HunyuanFineTune", "demo", "car"),
        Key("HunyuanDeployment", "demo", "tiny"),
    }


async def test_a_watch_that_begins_anew_asks_for_a_check_of_the_cache() -> None:
    assert await queued((None, pod())) == ({"tiny"}, True)


def test_kopf_writes_nothing_and_watches_only_the_operators_objects() -> None:
    settings = handlers.settings()
    assert settings.peering.standalone
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert set(settings.watching.label_selectors.values()) == {"app.kubernetes.io/managed-by=hunyuan-operator"}
    assert len(settings.watching.label_selectors) == 6
