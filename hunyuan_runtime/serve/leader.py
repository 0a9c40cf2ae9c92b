"""Rank 0: Ray's head, the driver beside it, and the canary. Ends by an exception, or drained."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from hunyuan_runtime.config import Phase, Port, RuntimeStatus, ServeConfig
from hunyuan_runtime.pace import Pace
from hunyuan_runtime.processes import Children
from hunyuan_runtime.serve import verdict
from hunyuan_runtime.serve.canary import Api, Canary
from hunyuan_runtime.serve.checkpoint import check_config, check_folder, check_weights
from hunyuan_runtime.serve.engine_args import Checkpoint, engine_arguments
from hunyuan_runtime.serve.engine_processes import EngineProcesses
from hunyuan_runtime.serve.peers import Peer, Peers
from hunyuan_runtime.serve.ray_node import Node, RayNode
from hunyuan_runtime.serve.reports import DRAIN_SIGNAL, Report, ReportReader
from hunyuan_runtime.serve.stopped import StoppedProcesses
from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.serve.verdict import Limits, Standstill
from hunyuan_runtime.status import StatusServer
from hunyuan_runtime.termination import Cause, RuntimeFailure

RAY_START_TIMEOUT = 120
HEAD_START = 6
"""Seconds that a worker has to end first, when it is why the engine can't go on."""


@dataclass(kw_only=True)
class Leader:
    """The state of rank 0 between two reports of its driver."""

    config: ServeConfig
    node: Node
    env: Mapping[str, str]
    children: Children
    ray_node: RayNode
    status: StatusServer[RuntimeStatus]
    head_start: float = HEAD_START
    peers: Peers = field(default_factory=Peers)
    stopped: StoppedProcesses = field(default_factory=StoppedProcesses)
    engine: EngineProcesses = field(default_factory=EngineProcesses)
    began: float = field(default_factory=time.monotonic)
    joined: list[int] = field(default_factory=list)
    addresses: Mapping[int, str] = field(default_factory=dict)
    """Of the ranks, once all have joined."""
    blamed: RuntimeFailure | None = None
    canary: Canary | None = None
    pace: Pace = field(default_factory=Pace)
    standing: float = 0.0
    """Since when it loads or drains: times in which no canary can tell whether the engine moves."""
    drained: bool = False
    _driver: subprocess.Popen[bytes] | None = None
    _reports: ReportReader | None = None

    def run(self) -> NoReturn:
        """Check, start Ray and the driver, then watch both.

        Raises:
            RuntimeFailure: whatever ends this rank.

        """
        arguments = checked_arguments(self.config, self.node.work, self.env.get("HUNYUAN_DEVICE", "cuda"))
        self.ray_node.start(RAY_START_TIMEOUT)
        self.status.update(phase=Phase.JOINED)
        self.watch(self._start_driver(arguments))

    def watch(self, reports: ReportReader) -> NoReturn:
        """Until something fails: then leave ``head_start`` to the rank whose fault it is, and end."""
        self._reports = reports
        while self.blamed is None:
            self._look(reports)
        time.sleep(self.head_start)
        raise self.blamed

    def drain(self) -> None:
        """Return when all requests have had their answers, watching as before: an engine that is dead keeps none.

        Raises:
            RuntimeFailure: something failed before that.

        """
        serving = self.status.ready
        self.status.ready = False
        if not serving or self._driver is None or self._reports is None:
            return
        self.canary, self.standing = None, time.monotonic()
        self._driver.send_signal(DRAIN_SIGNAL)
        while not self.drained and self.blamed is None:
            self._look(self._reports)

    def _look(self, reports: ReportReader) -> None:
        for report in reports.read(timeout=0.5):
            self._take(report)
        self.children.reap_orphans()
        self.ray_node.check()
        self._check_time()
        self._check_engine()
        self._check_canary()
        self._check_ranks()

    def _start_driver(self, arguments: list[str]) -> ReportReader:
        reader, writer = os.pipe()
        command = [
            sys.executable, "-m", "hunyuan_runtime.serve.driver", str(writer),
            f"{self.node.rank.pod_ip}:{Port.RAY_GCS}", self.config.model_dump_json(), json.dumps(arguments),
        ]  # fmt: skip
        self._driver = self.children.start(command, self.env, pass_fds=[writer])
        os.close(writer)
        return ReportReader(reader)

    def _take(self, report: Report) -> None:
        match report.event:
            case "joining":
                self.joined = report.ranks
                self.status.update(ranks_joined=len(report.ranks))
            case "loading":
                self.standing = time.monotonic()
                self.status.update(phase=Phase.LOADING)
                self.addresses = report.addresses
                self.peers.watch({rank: address for rank, address in report.addresses.items() if rank})
            case "progress":
                self.status.update(progress=self.pace.progress(report.done, report.total, time.monotonic()))
            case "loaded":
                if self.config.world_size == 1:
                    self.engine.watch()
                self.canary = Canary(self._api(), self._start_time_left())
                self.canary.start()
            case "drained":
                self.drained = True
            case "failed":
                self._blame(self._explained(report.as_failure()))
            case "rank-died":
                where = f"on rank {report.ranks[0]}" if report.ranks else "of an unknown rank"
                words = f"the engine's process {report.pid} {where} died: {report.message}"
                self._blame(RuntimeFailure(Cause.WorkerDied, words, tuple(report.ranks)), report.pid)

    def _explained(self, failure: RuntimeFailure) -> RuntimeFailure:
        error = self.ray_node.engine_error() if failure.cause is Cause.EngineFailed else ""
        return RuntimeFailure(failure.cause, f"the engine didn't start: {error}") if error else failure

    def _blame(self, failure: RuntimeFailure, pid: int = 0) -> None:
        """End at once, unless it is another rank's fault that can still say so itself: it is told by status."""
        self.status.ready = False
        failure = self._by_hardware(failure)
        if failure.ranks == (0,):
            print(self.ray_node.dying_words(pid), file=sys.stderr)  # noqa: T201 - the log of a container
        if failure.ranks in ((), (0,)) or failure.cause is Cause.RankUnreachable:
            raise failure
        self.status.update(
            failed_rank=failure.ranks[0], failed_pid=pid, failed_cause=failure.cause.name, message=str(failure)
        )
        self.blamed = RuntimeFailure(Cause.EngineFailed, str(failure), failure.ranks)

    def _by_hardware(self, failure: RuntimeFailure) -> RuntimeFailure:
        """A broken GPU ends its rank's process, or fails each step: the log tells them from a broken program."""
        if failure.cause not in {Cause.EngineFailed, Cause.WorkerDied}:
            return failure
        words, address = self.ray_node.gpu_fault()
        if not words:
            return failure
        ranks = tuple(rank for rank, known in self.addresses.items() if known == address) or failure.ranks or (0,)
        return RuntimeFailure(Cause.GpuFault, f"{words} on rank {ranks[0]}", ranks)

    def _check_time(self) -> None:
        waited = time.monotonic() - self.began
        phase = self.status.status.phase
        if phase is Phase.JOINED and waited > self.config.join_timeout_seconds:
            missing = sorted(set(range(self.config.nodes)) - set(self.joined))
            raise RuntimeFailure(
                Cause.RanksMissing,
                f"after {waited:.0f} s only {len(self.joined)} of {self.config.nodes} ranks have joined; "
                f"missing: {', '.join(map(str, missing)) or 'the driver itself'}",
                ranks=tuple(missing),
            )
        if phase is not Phase.SERVING and waited > self.config.start_timeout_seconds:
            raise RuntimeFailure(Cause.EngineFailed, f"the engine doesn't answer {waited:.0f} s after the start")

    def _check_engine(self) -> None:
        if dead := self.engine.dead():
            pid = min(dead)
            names = ", ".join(f"{pid} ({name})" for pid, name in dead.items())
            self._blame(RuntimeFailure(Cause.WorkerDied, f"the engine's process {names} on rank 0 died", (0,)), pid)

    def _check_canary(self) -> None:
        if self.canary is None:
            return
        if self.canary.failure:
            self._blame(RuntimeFailure(Cause.EngineFailed, self.canary.failure))
        if self.canary.alive and not self.status.ready and self.blamed is None:
            self.status.update(phase=Phase.SERVING, progress=None)
            self.status.ready = True

    def _check_ranks(self) -> None:
        own = Peer(rank=0, suspect=self.stopped.look(time.monotonic()))
        ranks = [own, *self.peers.look()]
        if self.canary is not None and verdict.doubtful(ranks):
            self.canary.doubt()
        still, limits = self._standstill()
        failure = verdict.judge(still, ranks, limits)
        if failure is not None and self.blamed is None:
            self._blame(failure)

    def _standstill(self) -> tuple[Standstill, Limits]:
        if self.status.ready and self.canary is not None:
            return self.canary.standstill, verdict.SERVING
        seconds = time.monotonic() - self.standing if self.standing else 0.0
        serving = self.status.status.phase is Phase.SERVING
        return Standstill(seconds=seconds), verdict.DRAINING if serving else verdict.STARTING

    def _start_time_left(self) -> float:
        return max(1.0, self.config.start_timeout_seconds - (time.monotonic() - self.began))

    def _api(self) -> Api:
        return Api(f"http://127.0.0.1:{Port.API}", self.config.served_name)


def checked_arguments(config: ServeConfig, work: Path, device: str) -> list[str]:
    """The engine's arguments for a checkpoint that can be loaded; cheap checks first."""
    folder = Path(config.model_path)
    check_folder(folder)
    check_weights(folder)
    quantized = check_config(folder)
    tokenizer = prepare_tokenizer(folder, work / "tokenizer")
    return engine_arguments(config, Checkpoint(tokenizer=tokenizer, quantized=quantized), device)
