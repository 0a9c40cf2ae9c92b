"""Pods that train, without Kubernetes: the runtime's own program, each in a network namespace."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from hunyuan_runtime.config import Port
from hunyuan_runtime.termination import TerminationMessage
from hunyuan_runtime.train_config import StageReport, TrainConfig, TrainStatus

NETNS = Path("/etc/netns")
"""``ip netns exec`` mounts files from here over those of /etc."""
PATIENCE = 180
"""Seconds for a run of a few steps on a busy machine."""


@dataclass
class PodProcess:
    """A pod and what it leaves behind."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path

    @property
    def message(self) -> TerminationMessage | None:
        path = self.folder / "termination-log"
        return TerminationMessage.parse(path.read_text()) if path.exists() else None

    @property
    def report(self) -> StageReport | None:
        path = self.folder / "termination-log"
        return StageReport.parse(path.read_text()) if path.exists() else None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def status(self) -> TrainStatus | None:
        try:
            with urllib.request.urlopen(f"http://{self.address}:{int(Port.STATUS)}/status", timeout=5) as answer:
                return TrainStatus.model_validate_json(answer.read())
        except OSError:
            return None

    def stepping(self) -> bool:
        status = self.status()
        return status is not None and status.done >= 1

    def workers(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return children

    def end(self, timeout: float = PATIENCE) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"didn't end within {timeout} s:\n{self.log[-8000:]}")


@dataclass
class Pods:
    """Starts them, and ends what is left."""

    networks: list[tuple[str, str]]
    root: Path
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Each knows the names of all, as the headless Service would have it."""
        hosts = "".join(f"{address} tiny-{rank}.pods\n" for rank, (_, address) in enumerate(self.networks))
        for namespace, _ in self.networks:
            (NETNS / namespace).mkdir(parents=True, exist_ok=True)
            (NETNS / namespace / "hosts").write_text(hosts)
            (NETNS / namespace / "nsswitch.conf").write_text("hosts: files\n")

    def start(self, config: TrainConfig, pods: tuple[int, ...] = (0, 1), device: str = "cpu") -> list[PodProcess]:
        """All pods of a run, or those that are named."""
        return [self._start(config, index, device) for index in pods[: config.nodes]]

    def _start(self, config: TrainConfig, index: int, device: str) -> PodProcess:
        namespace, address = self.networks[index]
        folder = Path(tempfile.mkdtemp(dir=self.root))
        (folder / "config.json").write_text(config.model_dump_json())
        env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "OMP_NUM_THREADS": "1",
            "HUNYUAN_DEVICE": device,
            "HUNYUAN_RANK": str(index),
            "HUNYUAN_LEADER": self.networks[0][1],
            "HUNYUAN_POD_IP": address,
            "HUNYUAN_PEERS": ",".join(f"tiny-{rank}.pods" for rank in range(config.nodes)),
        }
        options = [f"--config={folder}/config.json", f"--termination-log={folder}/termination-log"]
        command = [sys.executable, "-m", "hunyuan_runtime.train", "train", *options]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command], env=env, stdout=log, stderr=subprocess.STDOUT
            )
        self._started.append(process)
        return PodProcess(process, address, folder)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for namespace, _ in self.networks:
            shutil.rmtree(NETNS / namespace, ignore_errors=True)
