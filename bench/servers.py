"""The two servers that bench/serve.py compares: how each is started, and what its processes use."""

import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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


def both_servers(model: Path, folder: Path, seqs: int, executor: str) -> tuple[Server, Server]:
    config = ServeConfig(
        model_path=str(model), served_name="tiny", max_model_len=512, nodes=1, gpus_per_node=1, tensor_parallel=1,
        pipeline_parallel=1, max_num_seqs=seqs, gpu_memory_utilization=0.9,
    )  # fmt: skip
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **ENVIRONMENT}
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "token").write_text(secrets.token_hex(32))
    ours = Server(
        name="ours",
        command=[
            sys.executable, "-m", "hunyuan_runtime.serve", f"--config={folder}/config.json", f"--work={folder}/work",
            f"--ray-token={folder}/token", f"--termination-log={folder}/end.json",
        ],
        url=f"http://127.0.0.1:{Port.API:d}",
        ready_url=f"http://127.0.0.1:{Port.STATUS:d}/readyz",
        env=env | {"HUNYUAN_RANK": "0", "HUNYUAN_LEADER": "127.0.0.1", "HUNYUAN_POD_IP": "127.0.0.1"},
    )  # fmt: skip
    arguments = engine_arguments(config, Checkpoint(tokenizer=model, quantized=False), "cpu")
    arguments = [each for each in arguments if not each.startswith("--distributed-executor-backend")]
    bare = Server(
        name="bare",
        command=[
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments, "--host=127.0.0.1",
            f"--port={BARE_PORT}", "--disable-uvicorn-access-log",
            *([f"--distributed-executor-backend={executor}"] if executor else []),
        ],
        url=f"http://127.0.0.1:{BARE_PORT}",
        ready_url=f"http://127.0.0.1:{BARE_PORT}/health",
        env=env,
    )  # fmt: skip
    return bare, ours


def cpu_seconds(root: psutil.Process) -> float:
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
