"""The two servers that bench/serve.py compares: how each is started, and what its processes use."""

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil

from hunyuan_runtime.config import Port, ServeConfig
from hunyuan_runtime.serve.engine_args import Checkpoint, engine_arguments

BARE_PORT = 8100
START_TIMEOUT = 600
ENVIRONMENT = {
    "HUNYUAN_DEVICE": "cpu",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # One thread for the engine of either, wherever the kernel finds room: else only one of them would bind its cores.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
}


@dataclass(frozen=True, kw_only=True)
class Server:
    name: str
    command: Sequence[str]
    url: str
    ready_url: str
    env: dict[str, str]

    @contextmanager
    def running(self, log: Path) -> Iterator[psutil.Process]:
        """The server's process, once it answers; ended with the context."""
        with log.open("ab") as output:
            process = subprocess.Popen(self.command, env=self.env, stdout=output, stderr=subprocess.STDOUT)
        try:
            self._wait(process, log)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                with urllib.request.urlopen(self.ready_url, timeout=5):  # noqa: S310 - http to this machine
                    return
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = log.read_text(errors="replace")[-4000:]
                    raise click.ClickException(f"{self.name} didn't start:\n{tail}") from None
                time.sleep(0.3)


def serve_config(model: Path, **changes: Any) -> ServeConfig:
    """One rank."""
    fields: dict[str, Any] = {
        "model_path": str(model),
        "served_name": "tiny",
        "max_model_len": 512,
        "nodes": 1,
        "gpus_per_node": 1,
        "tensor_parallel": 1,
        "pipeline_parallel": 1,
        "max_num_seqs": 64,
        "gpu_memory_utilization": 0.9,
    }
    return ServeConfig.model_validate(fields | changes)


def ours(config: ServeConfig, folder: Path) -> Server:
    """The leader of a group of one. ``folder`` must have a short path: Ray's sockets lie in it."""
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "token").write_text(secrets.token_hex(32))
    options = {"config": "config.json", "work": "work", "ray-token": "token", "termination-log": "end.json"}
    return Server(
        name="ours",
        command=[
            sys.executable, "-m", "hunyuan_runtime.serve",
            *(f"--{option}={folder / name}" for option, name in options.items()),
        ],
        url=f"http://127.0.0.1:{Port.API:d}",
        ready_url=f"http://127.0.0.1:{Port.STATUS:d}/readyz",
        env={
            **_environment(folder),
            "HUNYUAN_RANK": "0",
            "HUNYUAN_LEADER": "127.0.0.1",
            "HUNYUAN_POD_IP": "127.0.0.1",
        },
    )  # fmt: skip


def bare(config: ServeConfig, folder: Path) -> Server:
    """vLLM's own server with the same engine arguments and its own choice of executor."""
    arguments = engine_arguments(config, Checkpoint(tokenizer=Path(config.model_path), quantized=False), "cpu")
    return Server(
        name="bare",
        command=[
            sys.executable, "-m", "vllm.entrypoints.openai.api_server",
            *(argument for argument in arguments if not argument.startswith("--distributed-executor-backend")),
            "--host=127.0.0.1", f"--port={BARE_PORT}", "--disable-uvicorn-access-log",
        ],
        url=f"http://127.0.0.1:{BARE_PORT}",
        ready_url=f"http://127.0.0.1:{BARE_PORT}/health",
        env=_environment(folder),
    )  # fmt: skip


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **ENVIRONMENT}


@contextmanager
def frozen(root: psutil.Process) -> Iterator[None]:
    """The process and all that it started, stopped meanwhile.

    The first is the first to stop and the last to go on: it watches the others, and would find that they hang.
    """
    tree = (root, *root.children(recursive=True))
    _send(tree, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(reversed(tree), signal.SIGCONT)


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def cpu_seconds(root: psutil.Process) -> float:
    """What the process and all that it started have used so far; a process that has ended is not in it."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
