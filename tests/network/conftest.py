"""Pods of network namespaces whose preflight runs as in a real pod, with names from a hosts file."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hunyuan_runtime.config import NetworkConfig, NetworkReport, ServeConfig
from hunyuan_runtime.termination import TerminationMessage
from tests.engine.network import pod_networks

ROOT = Path(__file__).parents[2]
NETNS = Path("/etc/netns")
"""``ip netns exec`` mounts files from here over those of /etc."""


@dataclass
class Ended:
    """One rank's preflight."""

    code: int
    seconds: float
    """0 if another's end came first."""
    text: str

    @property
    def failure(self) -> TerminationMessage | None:
        return TerminationMessage.parse(self.text)

    @property
    def report(self) -> NetworkReport | None:
        return NetworkReport.parse(self.text)


@dataclass
class Pods:
    """Ready for a preflight; tests break something first."""

    folder: Path
    networks: list[tuple[str, str]]
    records: dict[str, str] = field(default_factory=dict)
    """What DNS says."""

    def namespace(self, rank: int) -> Path:
        return Path("/run/netns") / self.networks[rank][0]

    def address(self, rank: int) -> str:
        return self.networks[rank][1]

    def inside(self, rank: int, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.networks[rank][0], *command], check=True)

    def publish(self, **more: str) -> None:
        """Let the pods know the records, these too; also while they run."""
        hosts = "".join(f"{address} {name}\n" for name, address in (self.records | more).items())
        for namespace, _ in self.networks:
            (NETNS / namespace / "hosts").write_text(hosts)

    def preflight(self, *, join_timeout_seconds: int = 60, **network: Any) -> list[Ended]:
        """Run all ranks until one fails, or all have ended well; the rest is ended then, as the operator does it."""
        self._write(join_timeout_seconds, NetworkConfig(**network))
        began = time.monotonic()
        ranks = [self._start(rank) for rank in range(len(self.networks))]
        seconds = [0.0] * len(ranks)
        try:
            while not all(seconds):
                for rank, process in enumerate(ranks):
                    if not seconds[rank] and process.poll() is not None:
                        seconds[rank] = time.monotonic() - began
                if any(seconds[rank] and process.returncode for rank, process in enumerate(ranks)):
                    break
                assert time.monotonic() - began < 90, "the preflight doesn't end"
                time.sleep(0.02)
        finally:
            for process in ranks:
                process.terminate()
                process.wait()
        return [
            Ended(process.returncode, seconds[rank], self._log(rank).read_text()) for rank, process in enumerate(ranks)
        ]

    def _write(self, join_timeout_seconds: int, network: NetworkConfig) -> None:
        count = len(self.networks)
        config = ServeConfig(
            model_path="/models", served_name="tiny", max_model_len=16, nodes=count, gpus_per_node=1,
            tensor_parallel=count, pipeline_parallel=1, max_num_seqs=1, gpu_memory_utilization=0.9,
            join_timeout_seconds=join_timeout_seconds, network=network,
        )  # fmt: skip
        (self.folder / "config.json").write_text(config.model_dump_json())
        (self.folder / "token").write_text("a secret\n")
        for rank, (namespace, _) in enumerate(self.networks):
            self._log(rank).write_text("")
            (NETNS / namespace).mkdir(parents=True, exist_ok=True)
            (NETNS / namespace / "nsswitch.conf").write_text("hosts: files\n")
        self.publish()

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        namespace, address = self.networks[rank]
        peers = [f"pod-{index}.pods" for index in range(len(self.networks))]
        env = {
            **os.environ,
            "HUNYUAN_RANK": str(rank), "HUNYUAN_LEADER": peers[0], "HUNYUAN_PEERS": ",".join(peers),
            "HUNYUAN_POD_IP": address, "HUNYUAN_NODE": f"node-{rank}", "HUNYUAN_DEVICE": "cpu",
        }  # fmt: skip
        command = [
            "ip", "netns", "exec", namespace, sys.executable, "-m", "hunyuan_runtime.preflight",
            "--config", str(self.folder / "config.json"), "--ray-token", str(self.folder / "token"),
            "--termination-log", str(self._log(rank)),
        ]  # fmt: skip
        with (self.folder / f"log-{rank}").open("wb") as log:
            return subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)

    def _log(self, rank: int) -> Path:
        return self.folder / f"end-{rank}"


@contextmanager
def made(count: int, folder: Path) -> Iterator[Pods]:
    there_before = NETNS.exists()
    with pod_networks(count) as networks:
        records = {f"pod-{rank}.pods": address for rank, (_, address) in enumerate(networks)}
        try:
            yield Pods(folder, networks, records)
        finally:
            for namespace, _ in networks:
                shutil.rmtree(NETNS / namespace, ignore_errors=True)
            if not there_before:
                NETNS.rmdir()


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Two."""
    with made(2, tmp_path) as pods:
        yield pods


@pytest.fixture
def three_pods(tmp_path: Path) -> Iterator[Pods]:
    with made(3, tmp_path) as pods:
        yield pods
