"""The operator as a process beside a real API server, with exactly the rights that the chart gives it.

The chart is installed with no replica: its service account's token is all that the process has.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests import cluster as testbed
from tests import stack

NAME = "hunyuan-operator"
STARTED = 60
"""Seconds that a start may take on a busy machine; a standby waits up to 14 of them for an abandoned Lease."""


def install(cluster: testbed.Cluster, namespace: str = stack.SYSTEM_NAMESPACE, settings: str = "") -> str:
    """The chart without a replica; returns the runtime image, which is an earlier installation's if there is one.

    Another image would be another revision of every deployment that the cluster has, and roll over what the demo left.
    ``settings`` are more of helm's, as ``,name=value``.
    """
    image = _runtime_image(cluster) or "runtime:test"
    cluster.helm(
        "upgrade", "--install", NAME, str(stack.ROOT / "charts/hunyuan-operator"),
        "--namespace", namespace, "--create-namespace", "--reset-then-reuse-values",
        "--set", f"replicas=0,crds.enabled=false,runtimeImage={image}{settings}",
    )  # fmt: skip
    return image


def _runtime_image(cluster: testbed.Cluster) -> str:
    path = '{.items[*].spec.template.spec.containers[0].env[?(@.name=="HUNYUAN_RUNTIME_IMAGE")].value}'
    selector = f"app.kubernetes.io/name={NAME}"
    return cluster.kubectl(
        "-n", stack.SYSTEM_NAMESPACE, "get", "deployments", "-l", selector, "-o", f"jsonpath={path}"
    ).strip()


@dataclass(frozen=True, kw_only=True)
class Rights:
    """The cluster's kubeconfig with a token of the operator in place of the user, and the image that it gives to pods.

    ``token`` is what audit events call the token.
    """

    kubeconfig: Path
    image: str
    token: str
    namespace: str

    def environment(self) -> dict[str, str]:
        """Of the operator, but for its identity."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # the operator of the tests' own tree
            "KUBECONFIG": str(self.kubeconfig),
            "HUNYUAN_RUNTIME_IMAGE": self.image,
            "POD_NAMESPACE": self.namespace,
        }


def rights(cluster: testbed.Cluster, folder: Path, name: str = "operator") -> Rights:
    """By a token of their own."""
    return rights_of(install(cluster), cluster, folder / f"{name}.kubeconfig")


def rights_of(image: str, cluster: testbed.Cluster, path: Path, namespace: str = stack.SYSTEM_NAMESPACE) -> Rights:
    """Of the chart that is installed in that namespace."""
    config: dict[str, Any] = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--minify"))
    token = cluster.kubectl("-n", namespace, "create", "token", NAME, "--duration=2h").strip()
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    path.write_text(yaml.safe_dump(config))
    claims = token.split(".")[1]
    identity = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["jti"]
    return Rights(kubeconfig=path, image=image, token=f"JTI={identity}", namespace=namespace)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class OperatorProcess:
    rights: Rights
    identity: str
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=_free_port)
    liveness_port: int = field(default_factory=_free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    @property
    def _log_path(self) -> Path:
        return self.rights.kubeconfig.parent / f"{self.identity}.log"

    def start(self) -> None:
        environment = {**self.rights.environment(), "POD_NAME": self.identity, **self.env}
        ports = ["--port", str(self.port), "--liveness-port", str(self.liveness_port)]
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hunyuan_operator", *ports], env=environment, stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        stack.wait_until(f"{self.identity} is ready", self.is_ready, timeout=STARTED, state=lambda: self.log)

    def wait_leading(self) -> None:
        stack.wait_until(f"{self.identity} leads", self.leads, timeout=STARTED, state=lambda: self.log)

    def is_ready(self) -> bool:
        return self.get("readyz", self.port)[0] == 200

    def is_alive(self) -> bool:
        return self.get("healthz", self.liveness_port)[0] == 200

    def leads(self) -> bool:
        return self.metrics().get("hunyuan_operator_leader") == 1.0

    def metrics(self) -> dict[str, float]:
        """Value by name with labels; empty while nothing answers."""
        lines = self.get("metrics", self.port)[1].splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def writes(self) -> dict[str, float]:
        """Requests that write, without those for the Lease (the only PUT)."""
        prefix = "hunyuan_operator_api_requests_total"
        found = {name: value for name, value in self.metrics().items() if name.startswith(prefix)}
        return {name: value for name, value in found.items() if 'method="GET"' not in name and "PUT" not in name}

    def get(self, path: str, port: int) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and how many seconds it took."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> tuple[int, float]:
        assert self.process is not None
        begin = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process = None
        return code, time.monotonic() - begin


@contextmanager
def running(rights: Rights, identity: str, **env: str) -> Iterator[OperatorProcess]:
    """A process that is ready, and is ended at the end if it still runs."""
    operator = OperatorProcess(rights, identity, env)
    operator.start()
    try:
        operator.wait_ready()
        yield operator
    finally:
        if operator.process is not None:
            operator.terminate()
