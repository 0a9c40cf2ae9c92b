"""The running operator: what is started in which order, and how it ends.

Every instance watches and keeps its caches warm; only the holder of the Lease reconciles. It ends

- on SIGTERM or SIGINT: no new key is begun, keys in work are finished, the Lease is given back; exit code 0;
- when the Lease is lost, or the watches fail for good: at once, for another start from a clean slate; exit code 1.
"""

import asyncio
import logging
import random
import signal
import time
from collections.abc import Collection, Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from hunyuan_operator import fence, handlers, login, web
from hunyuan_operator.api import names
from hunyuan_operator.cluster.answers import NotFound
from hunyuan_operator.cluster.client import ApiClient
from hunyuan_operator.cluster.events import Recorder
from hunyuan_operator.cluster.kube import KubeCluster, runtime_session
from hunyuan_operator.cluster.lease import Lease
from hunyuan_operator.cluster.port import Key
from hunyuan_operator.controller import RESYNC, Controller
from hunyuan_operator.errors import ClusterError, Unavailable
from hunyuan_operator.leader import Elector, LeaseLost, Periods, Time
from hunyuan_operator.metrics import Metrics
from hunyuan_operator.reconcile import reconcile
from hunyuan_operator.reconcile_finetune import reconcile_finetune
from hunyuan_operator.settings import Settings
from hunyuan_operator.workqueue import WorkQueue

LEASE_NAME = "hunyuan-operator"
_DRAIN = 3.0
"""Seconds that keys in work get at the end."""
_RELIST = 2.0
"""Seconds from the first event of a new watch until its list is through, in most cases."""
_RETRY = 2.0
_RECONCILES = {names.DEPLOYMENT_KIND: reconcile, names.FINE_TUNE_KIND: reconcile_finetune}

logger = logging.getLogger(__name__)


class WatchEnded(Exception):
    """kopf gave up: without watches the caches go stale."""


EXPECTED_ENDS = (ClusterError, LeaseLost, WatchEnded, kopf.LoginError)
"""What may end the operator without being a defect of it: the next start begins from a clean slate."""


class Operator:
    def __init__(self, settings: Settings, cluster: KubeCluster, elector: Elector, metrics: Metrics) -> None:
        self._rng = random.Random()  # noqa: S311 - spreads load, hides nothing
        self._settings = settings
        self._cluster = cluster
        self._metrics = metrics
        self._queue: WorkQueue[Key] = WorkQueue(asyncio.get_running_loop(), self._rng)
        self._elector = elector
        self._relisted = asyncio.Event()
        self.synced = False
        metrics.watch_depth(lambda: len(self._queue))

    async def run(self, stop: asyncio.Event, liveness: str) -> None:
        """Returns after ``stop`` is set; raises whatever else ended it."""
        others = asyncio.all_tasks()
        # Not awaited as one: at its end, kopf cancels every task that it doesn't know.
        watches = await kopf.spawn_tasks(
            registry=handlers.registry(self._cluster.cache, self._queue, self._relisted, login.connection),
            settings=handlers.settings(),
            identity=self._settings.identity,  # else kopf asks for the user's name, and 10001 has none
            clusterwide=not self._settings.watch_namespaces,
            namespaces=self._settings.watch_namespaces,
            liveness_endpoint=liveness,
        )
        _on_signals(stop)  # after kopf's own, to replace them
        lead = asyncio.create_task(self._lead(), name="lead")
        try:
            await self._until(stop, lead, watches)
            self._queue.shut_down()
            await asyncio.wait({lead}, timeout=_DRAIN)
        finally:
            await _cancel(lead)
            await self._elector.release()
            watching = asyncio.create_task(kopf.run_tasks(watches, ignored=others))
            await _cancel(watching)

    async def _until(self, stop: asyncio.Event, lead: asyncio.Task[None], watches: Collection[Any]) -> None:
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({stopping, lead, *watches}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if lead.done():
            lead.result()
        ended = next((watch for watch in watches if watch.done()), None)
        if ended is not None and not stop.is_set():
            raise WatchEnded(f"{ended.get_name()} ended") from ended.exception()

    async def _lead(self) -> None:
        await self._fill_cache()
        logger.info("caches are filled; waiting for the lease")
        await self._elector.acquire()
        logger.info("%s leads", self._settings.identity)
        self._metrics.leading(leads=True)
        for key in self._cluster.cache.owners():
            self._queue.add(key)
        controller = Controller(
            queue=self._queue, reconcile=self._reconcile, metrics=self._metrics, clock=time.monotonic, rng=self._rng
        )
        await _first_of(controller.run(self._settings.workers), self._elector.hold(), self._check_cache())

    async def _reconcile(self, key: Key) -> timedelta | None:
        result = await _RECONCILES[key.kind](key, self._cluster, _now(), self._settings)
        return result.requeue_after

    async def _fill_cache(self) -> None:
        while not self.synced:
            try:
                await self._cluster.sync(self._settings.watch_namespaces)
                self.synced = True
            except NotFound as error:
                raise Unavailable(f"the resources can't be listed: are their CRDs installed? ({error})") from error
            except Unavailable as error:
                logger.warning("can't list yet, again in %.0f s: %s", _RETRY, error)
                await asyncio.sleep(_RETRY)

    async def _check_cache(self) -> None:
        """Compare the cache with full lists, regularly and after a watch began anew."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._relisted.wait(), RESYNC.total_seconds() * self._rng.uniform(1, 1.2))
                await asyncio.sleep(_RELIST)
            self._relisted.clear()
            try:
                stale = await self._cluster.sync(self._settings.watch_namespaces)
            except ClusterError as error:
                logger.warning("can't check the cache: %s", error)
                self._relisted.set()
                continue
            for key in stale:
                self._queue.add(key)


async def run(settings: Settings, port: int, liveness_port: int) -> None:
    """The whole operator, until a signal; raises whatever else ended it."""
    metrics = Metrics()
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ApiClient(login.credentials, time.monotonic, metrics.requested))
        runtime = await stack.enter_async_context(runtime_session())
        cluster = KubeCluster(client, runtime, Recorder(client, settings.identity), _now)
        operator = Operator(settings, cluster, _elector(settings, client), metrics)
        await stack.enter_async_context(web.serving(metrics, lambda: operator.synced, port))
        await operator.run(stop, f"http://0.0.0.0:{liveness_port}/healthz")
    logger.info("stopped")


def _elector(settings: Settings, client: ApiClient) -> Elector:
    periods = Periods(duration=settings.lease_duration)
    lease = Lease(client, settings.namespace, LEASE_NAME, periods.renew_deadline / 2)
    clock = Time(monotonic=time.monotonic, now=_now, fence=fence.install())
    return Elector(lease, settings.identity, clock, random.Random(), periods)  # noqa: S311 - spreads load, hides nothing


def _now() -> datetime:
    return datetime.now(UTC)


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends; raise what it raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            await _cancel(task)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
