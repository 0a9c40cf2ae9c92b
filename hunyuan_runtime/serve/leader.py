"""Rank 0: Ray's head, the driver beside it, and the canary. Ends by an exception, and by nothing else."""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from hunyuan_runtime.config import Phase, Port, ServeConfig
from hunyuan_runtime.pace import Pace
from hunyuan_runtime.serve.canary import Api, Canary, wait_until_idle
from hunyuan_runtime.serve.checkpoint import check_config, check_folder, check_weights
from hunyuan_runtime.serve.engine_args import Checkpoint, engine_arguments
from hunyuan_runtime.serve.processes import Children
from hunyuan_runtime.serve.ray_node import Node, RayNode
from hunyuan_runtime.serve.reports import Report, ReportReader
from hunyuan_runtime.serve.status import StatusServer
from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.termination import Cause, RuntimeFailure

RAY_START_TIMEOUT = 120
HEAD_START = 15
"""Seconds that a worker has to end first, when its process's death is why the engine can't go on."""
DRAIN = 10
"""Seconds that running requests get after SIGTERM."""


@dataclass(kw_only=True)
class Leader:
    """The state of rank 0 between two reports of its driver."""

    config: ServeConfig
    node: Node
    env: Mapping[str, str]
    children: Children
    ray_node: RayNode
    status: StatusServer
    head_start: float = HEAD_START
    began: float = field(default_factory=time.monotonic)
    joined: list[int] = field(default_factory=list)
    blamed: RuntimeFailure | None = None
    canary: Canary | None = None
    pace: Pace = field(default_factory=Pace)

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
        while self.blamed is None:
            for report in reports.read(timeout=0.5):
                self._take(report)
            self.children.reap_orphans()
            self.ray_node.check()
            self._check_time()
            self._check_canary()
        time.sleep(self.head_start)
        raise self.blamed

    def drain(self) -> None:
        """No new requests, and a moment for the running ones."""
        self.status.ready = False
        if self.status.status.phase is Phase.SERVING and self.blamed is None:
            wait_until_idle(self._api().running, DRAIN)

    def _start_driver(self, arguments: list[str]) -> ReportReader:
        reader, writer = os.pipe()
        command = [
            sys.executable, "-m", "hunyuan_runtime.serve.driver", str(writer),
            f"{self.node.rank.pod_ip}:{Port.RAY_GCS}", self.config.model_dump_json(), json.dumps(arguments),
        ]  # fmt: skip
        self.children.start(command, self.env, pass_fds=[writer])
        os.close(writer)
        return ReportReader(reader)

    def _take(self, report: Report) -> None:
        match report.event:
            case "joining":
                self.joined = report.ranks
                self.status.update(ranks_joined=len(report.ranks))
            case "loading":
                self.status.update(phase=Phase.LOADING)
            case "progress":
                self.status.update(progress=self.pace.progress(report.done, report.total, time.monotonic()))
            case "loaded":
                self.canary = Canary(self._api(), self._start_time_left())
                self.canary.start()
            case "failed":
                raise self._explained(report.as_failure())
            case "rank-died":
                self._blame(report)

    def _explained(self, failure: RuntimeFailure) -> RuntimeFailure:
        error = self.ray_node.engine_error() if failure.cause is Cause.EngineFailed else ""
        return RuntimeFailure(failure.cause, f"the engine didn't start: {error}") if error else failure

    def _blame(self, report: Report) -> None:
        """A rank of this pod ends it now; another pod's rank is told by status and gets to end first."""
        self.status.ready = False
        if report.ranks == [0]:
            print(self.ray_node.dying_words(report.pid), file=sys.stderr)  # noqa: T201 - the log of a container
            raise RuntimeFailure(
                Cause.WorkerDied, f"the engine's process {report.pid} on rank 0 died: {report.message}"
            )
        rank = report.ranks[0] if report.ranks else None
        self.status.update(failed_rank=rank, failed_pid=report.pid, message=report.message)
        self.blamed = RuntimeFailure(Cause.EngineFailed, f"rank {rank}'s engine process died: {report.message}")

    def _check_time(self) -> None:
        waited = time.monotonic() - self.began
        phase = self.status.status.phase
        if phase is Phase.JOINED and waited > self.config.join_timeout_seconds:
            missing = sorted(set(range(self.config.nodes)) - set(self.joined))
            raise RuntimeFailure(
                Cause.RanksMissing,
                f"after {waited:.0f} s only {len(self.joined)} of {self.config.nodes} ranks have joined; "
                f"missing: {', '.join(map(str, missing)) or 'the driver itself'}",
            )
        if phase is not Phase.SERVING and waited > self.config.start_timeout_seconds:
            raise RuntimeFailure(Cause.EngineFailed, f"the engine doesn't answer {waited:.0f} s after the start")

    def _check_canary(self) -> None:
        if self.canary is None or self.blamed is not None:
            return
        if self.canary.failure:
            self.blamed = RuntimeFailure(Cause.EngineFailed, f"the engine stopped answering: {self.canary.failure}")
            self.status.ready = False
        elif self.canary.alive and not self.status.ready:
            self.status.update(phase=Phase.SERVING, progress=None)
            self.status.ready = True

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
