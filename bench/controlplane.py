#!/usr/bin/env python3
"""The operator against a bare client, on a real API server: ``python bench/controlplane.py [--json]``.

For each size a control plane of its own is started (etcd, API server, controller manager, scheduler; kwok plays the
nodes), and that many HunyuanDeployments of two pods are created at once. Measured of the operator, with the chart's
rights and no more: time from a resource to its last pod, requests by method, processor time and memory, what it costs
when idle, how long a restart takes until every resource was looked at, and how long 50 groups with a failed pod take
to heal.

The floor is measured in the same run, on a fresh control plane: the same resources and the very same objects, written
by a client that knows them all beforehand and does nothing but server-side apply.

It takes the machine's test bed for itself: a cluster that runs is ended first.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import psutil
from control_objects import NAMESPACE, Api, Times, fail_pods

from tests import cluster as testbed
from tests import stack
from tests.apiserver.operator_process import OperatorProcess, rights, running

PODS = 2
"""Of each deployment."""
PODS_PER_NODE = 500
IDLE = 30
"""Seconds for which the operator is watched while nothing happens."""
BROKEN = 50
PATIENCE = 3600.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of one size. Times are seconds, memory MiB; ``requests`` are those of the operator for each resource."""

    deployments: int
    total: float
    floor_total: float
    last_pod_p50: float
    last_pod_p99: float
    requests: dict[str, float]
    cpu: float
    rss: float
    idle_core_percent: float
    idle_writes: float
    restart: float
    restart_cpu: float
    heal: float

    @property
    def ratio(self) -> float:
        return self.total / self.floor_total


@contextmanager
def control_plane(deployments: int) -> Iterator[testbed.Cluster]:
    """An empty one, with nodes for that many."""
    testbed.down()
    cluster = testbed.up(nodes=0)
    try:
        cluster.kubectl("apply", "--server-side", "-f", str(stack.ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(stack.ROOT / "crds"))
        cluster.add_fake_nodes(2 + PODS * deployments // PODS_PER_NODE, pods=PODS_PER_NODE)
        cluster.kubectl("create", "namespace", NAMESPACE)
        yield cluster
    finally:
        testbed.down()


def measure(deployments: int, clients: int) -> Result:
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane(deployments) as cluster,
        running(rights(cluster, Path(folder)), "bench") as operator,
    ):
        operator.wait_leading()
        found = of_operator(deployments, operator, cluster)
    with control_plane(deployments) as cluster:
        floor = asyncio.run(Api(cluster).floor(deployments, clients))
    say(f"{deployments}: the bare client took {floor:.1f} s")
    return Result(deployments=deployments, floor_total=floor, **found)


def of_operator(deployments: int, operator: OperatorProcess, cluster: testbed.Cluster) -> dict[str, Any]:
    api = Api(cluster)
    begun, requests = _cpu(operator), operator.writes()
    times = asyncio.run(api.create_and_watch(deployments, PODS, PATIENCE))
    say(f"{deployments}: all pods exist after {times.total:.1f} s")
    _wait_quiet(operator)
    cpu, rss = _cpu(operator) - begun, _rss(operator)
    counted = _by_method(operator.writes(), requests, deployments)
    say(f"{deployments}: quiet; {cpu:.1f} s of processor, {rss:.0f} MiB, requests each {counted}")

    begun, writes = _cpu(operator), sum(operator.writes().values())
    time.sleep(IDLE)
    idle, idle_writes = 100 * (_cpu(operator) - begun) / IDLE, sum(operator.writes().values()) - writes
    say(f"{deployments}: idle it takes {idle:.2f} % of a core and writes {idle_writes:.0f} times")

    broken = min(BROKEN, deployments)
    heal = asyncio.run(fail_pods(api, broken, PATIENCE))
    say(f"{deployments}: {broken} failed groups were whole again after {heal:.1f} s")

    operator.terminate()
    began = time.monotonic()
    operator.start()
    stack.wait_until("every resource was looked at", lambda: _looked_at(operator) >= deployments, timeout=PATIENCE)
    restart = time.monotonic() - began
    say(f"{deployments}: {restart:.1f} s from its start until every resource was looked at")
    return {
        **_of_times(times),
        "requests": counted,
        "cpu": round(cpu, 2),
        "rss": round(max(rss, _rss(operator)), 1),
        "idle_core_percent": round(idle, 2),
        "idle_writes": idle_writes,
        "restart": round(restart, 2),
        "restart_cpu": round(_cpu(operator), 2),
        "heal": round(heal, 2),
    }


def _of_times(times: Times) -> dict[str, float]:
    waits = times.waits
    return {
        "total": round(times.total, 2),
        "last_pod_p50": round(statistics.median(waits), 3),
        "last_pod_p99": round(statistics.quantiles(waits, n=100)[98], 3),
    }


def _process(operator: OperatorProcess) -> psutil.Process:
    assert operator.process is not None
    return psutil.Process(operator.process.pid)


def _cpu(operator: OperatorProcess) -> float:
    used = _process(operator).cpu_times()
    return float(used.user + used.system)


def _rss(operator: OperatorProcess) -> float:
    return float(_process(operator).memory_info().rss) / 2**20


def _by_method(after: dict[str, float], before: dict[str, float], deployments: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in after.items():
        method = name.partition('method="')[2].partition('"')[0]
        found[method] = found.get(method, 0) + (value - before.get(name, 0)) / deployments
    return {method: round(value, 2) for method, value in sorted(found.items()) if value}


def _looked_at(operator: OperatorProcess) -> float:
    name = 'hunyuan_operator_reconcile_seconds_count{result="ok"}'
    return operator.metrics().get(name, 0) if operator.leads() else 0


def _wait_quiet(operator: OperatorProcess) -> None:
    seen, since = operator.writes(), time.monotonic()

    def quiet() -> bool:
        nonlocal seen, since
        if (now := operator.writes()) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 5

    stack.wait_until("the operator is quiet", quiet, timeout=PATIENCE, state=lambda: operator.log[-2000:])


def table(results: Sequence[Result]) -> str:
    head = (
        f"{'resources':>9}{'total s':>9}{'floor s':>9}{'ratio':>7}{'p50 s':>8}{'p99 s':>8}{'CPU ms each':>13}{'MiB':>7}"
        f"{'idle %':>8}{'writes':>8}{'restart s':>11}{'heal s':>8}  requests each"
    )
    rows = [
        f"{r.deployments:>9}{r.total:>9.1f}{r.floor_total:>9.1f}{r.ratio:>7.2f}{r.last_pod_p50:>8.2f}{r.last_pod_p99:>8.2f}"
        f"{1000 * r.cpu / r.deployments:>13.1f}{r.rss:>7.0f}{r.idle_core_percent:>8.2f}{r.idle_writes:>8.0f}"
        f"{r.restart:>11.1f}{r.heal:>8.1f}  {', '.join(f'{k} {v:g}' for k, v in r.requests.items())}"
        for r in results
    ]
    return "\n".join([head, *rows])


def say(line: str) -> None:
    """Progress, on stderr."""
    click.echo(line, err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--size", multiple=True, type=click.IntRange(2), help="Repeatable. Default: 100, 1000 and 5000.")
@click.option("--clients", default=16, show_default=True, type=click.IntRange(1), help="The floor's writes at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, size: tuple[int, ...], clients: int, as_json: bool) -> None:
    """Measure the operator against a bare client on this machine's test bed, both in this run."""
    results = [measure(each, clients) for each in size or (100, 1000, 5000)]
    found = [{**asdict(result), "ratio": round(result.ratio, 3)} for result in results]
    click.echo(json.dumps(found) if as_json else table(results))


if __name__ == "__main__":
    main()
