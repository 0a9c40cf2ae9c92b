"""One node of the group's Ray cluster: the ``ray start`` command, its environment, and whether its daemons live."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from hunyuan_runtime.config import Port, Rank
from hunyuan_runtime.gpu_fault import reported_gpu_fault
from hunyuan_runtime.preflight.wiring import Wiring
from hunyuan_runtime.processes import Children, lives, running
from hunyuan_runtime.termination import Cause, RuntimeFailure

OBJECT_STORE_BYTES = 128 * 2**20
"""Nothing but small control messages goes through Ray's object store: tensors go through NCCL or gloo."""
DAEMONS = {True: ("gcs_server", "raylet"), False: ("raylet",)}
"""Process names of what must live, on the head and elsewhere."""
_ENGINE_ERROR = re.compile(
    r"^\(EngineCore.*? ERROR .*?\[core\.py:\d+\] ((?:\w+\.)*\w*(?:Error|Exception|Failure)\b.*)$", re.M
)
"""The last line of a traceback that the engine core logged."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What ``ray start`` is told about this rank's node."""

    rank: Rank
    gpus: int
    wiring: Wiring
    token: Path
    work: Path

    @property
    def is_head(self) -> bool:
        return self.rank.index == 0

    @property
    def gcs_address(self) -> str:
        return f"{self.rank.leader}:{Port.RAY_GCS}"


def rank_resource(index: int) -> str:
    """A Ray resource that only this rank's node has: how the leader knows who has joined."""
    return f"hunyuan-rank-{index}"


def rank_of(resources: Iterable[str]) -> int | None:
    """The rank whose node has these Ray resources."""
    prefix = rank_resource(0)[:-1]
    return next((int(name.removeprefix(prefix)) for name in resources if name.startswith(prefix)), None)


def start_command(node: Node) -> list[str]:
    """``ray start`` with every port fixed, so that a NetworkPolicy can name them."""
    role = (
        ["--head", f"--port={Port.RAY_GCS}", f"--ray-client-server-port={Port.RAY_CLIENT}", "--no-monitor",
         "--include-dashboard=false", "--dashboard-host=127.0.0.1", f"--dashboard-port={Port.RAY_DASHBOARD}"]
        if node.is_head
        else [f"--address={node.gcs_address}"]
    )  # fmt: skip
    ports = {
        "object-manager-port": Port.RAY_OBJECT_MANAGER,
        "node-manager-port": Port.RAY_NODE_MANAGER,
        "dashboard-agent-grpc-port": Port.RAY_AGENT_GRPC,
        "runtime-env-agent-port": Port.RAY_RUNTIME_ENV,
        "dashboard-agent-listen-port": Port.RAY_AGENT_HTTP,
        "metrics-export-port": Port.RAY_METRICS,
        "min-worker-port": Port.RAY_WORKER_MIN,
        "max-worker-port": Port.RAY_WORKER_MAX,
    }
    return [
        sys.executable, "-m", "ray.scripts.scripts", "start", *role,
        *(f"--{name}={port}" for name, port in ports.items()),
        f"--node-ip-address={node.rank.pod_ip}",
        "--num-cpus=1",
        f"--num-gpus={node.gpus}",
        f'--resources={{"{rank_resource(node.rank.index)}": 1}}',
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={node.work}/ray",
        "--disable-usage-stats",
        "--log-style=record",
        "--log-color=false",
    ]  # fmt: skip


def environment(node: Node, inherited: Mapping[str, str]) -> dict[str, str]:
    """What every process of this rank sees: a home in /tmp, a user that no passwd file knows, the pod's own network.

    The defaults yield to what the container's environment says; the network and the token don't.
    """
    defaults = {
        "USER": "hunyuan",
        "LOGNAME": "hunyuan",
        "HOME": str(node.work),
        "XDG_CACHE_HOME": f"{node.work}/cache",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    if inherited.get("HUNYUAN_DEVICE") == "cpu":
        defaults["TORCHDYNAMO_DISABLE"] = "1"
    fixed = {
        **node.wiring.environment(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(node.token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_COLOR_PREFIX": "0",
        "RAY_enable_open_telemetry": "0",
        # The dashboard's own metrics can't be switched off, but a port that doesn't exist can't be opened.
        "DASHBOARD_METRIC_PORT": "65536",
        # A slow image or a busy node must not look like a crashed Ray worker.
        "RAY_worker_register_timeout_seconds": "300",
        # Ray would kill a rank at 95 % of the memory limit; the limit itself is the kernel's and the kubelet's to keep.
        "RAY_memory_monitor_refresh_ms": "0",
        # The engine is what this pod is for; by default Ray makes its workers yield to everything else.
        "RAY_worker_niceness": "0",
        "RAY_prestart_worker_first_driver": "0",
        # Serve has one replica to look after, and nobody looks at what Ray's agent finds out of processes: by default
        # the two take three hundredths of a core for ever.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
        "REPORTER_UPDATE_INTERVAL_MS": "60000",
        # While the model loads, the replica's event loop is busy for as long as that takes.
        "RAY_SERVE_USER_HEALTH_CHECK_PROBE_MAX_FAIL": "0",
    }
    home = inherited.get("HOME", "/")
    kept = {name: value for name, value in inherited.items() if name != "HOME" or os.access(home, os.W_OK)}
    return {**defaults, **kept, **fixed}


class RayNode:
    """The Ray daemons of this rank."""

    def __init__(self, node: Node, env: Mapping[str, str], children: Children) -> None:
        self._node = node
        self._env = env
        self._children = children
        self._daemons: dict[str, list[psutil.Process]] = {}

    def start(self, timeout: float) -> None:
        """Run ``ray start``, which returns once its daemons run and, on a worker, the head has taken them in.

        Raises:
            RuntimeFailure: ``RayFailed``; what ``ray start`` printed is in this process's log.

        """
        process = self._children.start(start_command(self._node), self._env)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise RuntimeFailure(Cause.RayFailed, f"ray start didn't finish within {timeout:.0f} s") from None
        if code != 0:
            raise RuntimeFailure(Cause.RayFailed, f"ray start ended with exit code {code}; see the log")
        self._daemons = {name: running(name) for name in DAEMONS[self._node.is_head]}
        self.check()

    def check(self) -> None:
        """Raise ``RayFailed`` when a daemon is gone."""
        for name, processes in self._daemons.items():
            if not any(map(lives, processes)):
                raise RuntimeFailure(Cause.RayFailed, f"Ray's {name} ended on rank {self._node.rank.index}")

    def clear(self) -> None:
        """End what a failed ``start`` left, so that the next one begins afresh."""
        self._children.end_all(grace=2)
        shutil.rmtree(self._node.work / "ray", ignore_errors=True)

    def engine_error(self) -> str:
        """What the engine core died of. vLLM tells its caller only to look for it in the log, so that is done here."""
        logs = (self._node.work / "ray").glob("session_*/logs/worker-*.err")
        errors = [match[1] for path in logs for match in _ENGINE_ERROR.finditer(path.read_text(errors="replace"))]
        return errors[-1] if errors else ""

    def gpu_fault(self) -> tuple[str, str]:
        """As :func:`reported_gpu_fault`, of what Ray's workers wrote on this node: ranks, and on rank 0 the engine."""
        logs = sorted((self._node.work / "ray").glob("session_*/logs/worker-*.err"))
        found = (reported_gpu_fault(path.read_text(errors="replace")) for path in logs)
        return next(((words, address) for words, address in found if words), ("", ""))

    def dying_words(self, pid: int, lines: int = 20) -> str:
        """The last lines that a Ray worker process of this node wrote to its standard error."""
        logs = (self._node.work / "ray").glob(f"session_*/logs/worker-*-{pid}.err")
        newest = max(logs, key=lambda path: path.stat().st_mtime, default=None)
        return "" if newest is None else "\n".join(newest.read_text(errors="replace").splitlines()[-lines:])
