"""The stage ``train`` in one pod: the main process starts a worker process a GPU, and sees to it that all end together.

No launcher is needed for that: the workers meet at rank 0's pod by themselves (:mod:`.rendezvous`), and a pod's own
restarts are the operator's. The first worker that ends badly ends the pod; what it ended by is decided by
:func:`verdict`, since the others fail a moment later for want of it.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hunyuan_runtime.config import Rank
from hunyuan_runtime.entry import STOPPED
from hunyuan_runtime.preflight.names import peer_of
from hunyuan_runtime.preflight.wiring import Wiring, discover
from hunyuan_runtime.processes import Children, Stopped
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from hunyuan_runtime.train.silence import Silence
from hunyuan_runtime.train.words import Word, WordReader, as_failure
from hunyuan_runtime.train_config import RENDEZVOUS_PORT, StageReport, TrainConfig, TrainStatus

ASKED = (STOPPED, -signal.SIGTERM)
"""How a worker ends that was asked to; by the signal itself while it still imports its libraries."""
OWN_WORDS = 3.0
"""Seconds that the others of a pod have to tell why they end, once one has ended: theirs may be the cause."""


@dataclass(frozen=True, kw_only=True)
class End:
    """How one worker ended; ``code`` is negative for a signal, as subprocess has it."""

    local: int
    code: int
    failure: TerminationMessage | None = None


def verdict(ends: Sequence[End], pod: str, rank: int) -> RuntimeFailure | Stopped | None:
    """Of the workers that ended, by what this pod ends: a cause of its own before a stop, a stop before a consequence.

    None when none of them failed.
    """
    failures = [as_failure(end.failure) for end in ends if end.failure is not None]
    for failure in failures:
        if failure.cause is not Cause.RankLost:
            return failure
    for end in ends:
        if end.failure is None and end.code not in (0, *ASKED):
            return RuntimeFailure(Cause.WorkerDied, f"{pod}: worker {end.local} {_how(end.code)}", ranks=(rank,))
    if any(end.code in ASKED for end in ends):
        return Stopped("SIGTERM")
    return failures[0] if failures else None


def _how(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL: by the kernel for want of memory, if nobody else did it"
    if code == -signal.SIGABRT:
        return "aborted (SIGABRT); its log tells why, NCCL's watchdog among the reasons"
    return f"ended with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"


class Pod:
    """The workers of one pod."""

    def __init__(self, config: TrainConfig, rank: Rank, config_path: Path, children: Children) -> None:
        self.config, self.rank = config, rank
        self._path, self._children = config_path, children
        self._processes: list[subprocess.Popen[bytes]] = []
        self._readers: list[WordReader] = []
        self._failures: dict[int, TerminationMessage] = {}
        self._report: StageReport | None = None
        self._silence = Silence(rank)
        self._met = False

    def run(self, report: Callable[[TrainStatus], None]) -> StageReport | None:
        """Start the workers and stay until all have ended; only rank 0 gets a report.

        Raises:
            RuntimeFailure: what the pod ends by; ``RankUnreachable`` for another one that went silent.
            Stopped: the workers ended since someone was asked to.

        """
        wiring = discover(self.config.network, self.rank, peer_of(self.rank))
        self._start(worker_environment(self.config, self.rank, wiring, os.environ))
        try:
            self._watch(report)
        except Stopped:
            for process in self._processes:
                process.send_signal(signal.SIGTERM)
            self._watch(report)  # until they have saved; how long that may take is the kubelet's to limit
        end = verdict(self._ends(), self.rank.pod, self.rank.index)
        if end is not None:
            raise end
        return self._report

    def _start(self, env: Mapping[str, str]) -> None:
        for local in range(self.config.gpus_per_node):
            read, write = os.pipe()
            command = [
                sys.executable,
                "-m",
                "hunyuan_runtime.train.worker",
                f"--config={self._path}",
                f"--words={write}",
            ]
            rank = self.rank.index * self.config.gpus_per_node + local
            self._processes.append(
                self._children.start(command, {**env, "RANK": str(rank), "LOCAL_RANK": str(local)}, pass_fds=(write,))
            )
            os.close(write)
            self._readers.append(WordReader(read))

    def _watch(self, report: Callable[[TrainStatus], None]) -> None:
        """Until all have ended well, or a moment after the first has not."""
        deadline = float("inf")
        while any(process.poll() is None for process in self._processes) and time.monotonic() < deadline:
            self._listen(report, 0.2)
            self._children.reap_orphans()
            self._silence.check()
            if deadline == float("inf") and any(process.poll() for process in self._processes):
                deadline = time.monotonic() + OWN_WORDS
        while self._listen(report, 0):
            pass

    def _listen(self, report: Callable[[TrainStatus], None], timeout: float) -> bool:
        """Whether there was something to hear."""
        open_readers = {reader.fd: reader for reader in self._readers if not reader.ended}
        ready, _, _ = select.select(list(open_readers), [], [], timeout)
        for fd in ready:
            local = self._readers.index(open_readers[fd])
            for word in open_readers[fd].read():
                self._hear(local, word, report)
        if not open_readers and timeout:
            time.sleep(timeout)
        return bool(ready)

    def _hear(self, local: int, word: Word, report: Callable[[TrainStatus], None]) -> None:
        if word.status is not None:
            if not self._met:  # what a worker tells first it tells after the ranks have met
                self._met = True
                self._silence.watch()
            report(word.status)
        if word.failure is not None:
            self._failures[local] = word.failure
        self._report = word.report or self._report

    def _ends(self) -> list[End]:
        """Of those that have ended; the rest is still running and will be ended."""
        codes = enumerate(process.poll() for process in self._processes)
        return [
            End(local=local, code=code, failure=self._failures.get(local)) for local, code in codes if code is not None
        ]


def worker_environment(config: TrainConfig, rank: Rank, wiring: Wiring, env: Mapping[str, str]) -> dict[str, str]:
    """Everything but ``RANK`` and ``LOCAL_RANK``; what the pod's own environment says of threads stays."""
    on_cpu = env.get("HUNYUAN_DEVICE", "cuda") == "cpu"
    # Without GPUs the cores are all that computes, and threads that spin cost more than they win; with them, they are
    # for the optimizer that is offloaded to the CPU.
    threads = 1 if on_cpu else max(1, len(os.sched_getaffinity(0)) // config.gpus_per_node)
    chosen = {"DS_ACCELERATOR": "cpu"} if on_cpu else {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}
    return {
        "OMP_NUM_THREADS": str(threads),
        **env,
        **wiring.environment(),
        **chosen,
        "MASTER_ADDR": rank.leader,
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        "WORLD_SIZE": str(config.world_size),
        "LOCAL_WORLD_SIZE": str(config.gpus_per_node),
        "TOKENIZERS_PARALLELISM": "false",
    }
