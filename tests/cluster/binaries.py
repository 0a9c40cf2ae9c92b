"""The cluster's programs, built from the Go module in ``tools/``, and cached by all that decides what they are."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cluster.paths import CACHE

TOOLS = Path(__file__).parent / "tools"
SOURCES = ("go.mod", "go.sum", "pause/main.go")
GO_VERSION = (1, 26)
_ETCD_BUILT_AS = "server"


def folder() -> Path:
    """Where the binaries are, or will be; the folder exists only when it is complete."""
    contents = "\0".join((TOOLS / name).read_text() for name in SOURCES)
    key = hashlib.sha256("\0".join([contents, *_flags()]).encode()).hexdigest()[:16]
    return CACHE / "bin" / key


def ensure(progress: Callable[[str], None]) -> Path:
    """Build what is missing, or nothing; about 15 minutes on two cores when Go's own cache is empty."""
    target = folder()
    if target.is_dir():
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        _build(partial, progress)
        (partial / _ETCD_BUILT_AS).rename(partial / "etcd")
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in target.parent.iterdir():
        if other != target:
            shutil.rmtree(other)
    return target


def kubernetes_version(go_mod: str) -> str:
    found = re.search(r"^require k8s\.io/kubernetes (v\S+)$", go_mod, re.MULTILINE)
    if found is None:
        raise ValueError("go.mod does not require k8s.io/kubernetes on a line of its own")
    return found[1]


def parse_go_version(text: str) -> tuple[int, int] | None:
    """Out of ``go version``: "go version go1.26.8 linux/amd64" → (1, 26)."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _flags() -> list[str]:
    """Without the -X settings, Kubernetes calls itself v0.0.0 and clients refuse to talk to it."""
    version = kubernetes_version((TOOLS / "go.mod").read_text())
    major, minor = version.removeprefix("v").split(".")[:2]
    settings = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    ldflags = " ".join(["-s", "-w", *(f"-X k8s.io/component-base/version.{k}={v}" for k, v in settings.items())])
    return ["-trimpath", "-buildvcs=false", "-ldflags", ldflags]


def _build(target: Path, progress: Callable[[str], None]) -> None:
    command = ["go", "build", "-v", *_flags(), "-o", str(target), "tool", "./pause"]
    progress("building Kubernetes' programs with Go: about 15 minutes when nothing is cached")
    environment = {**os.environ, "CGO_ENABLED": "0"}
    with subprocess.Popen(command, cwd=TOOLS, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines = []
        for count, line in enumerate(process.stderr, start=1):
            lines.append(line.rstrip())
            if count % 100 == 0 or "/cmd/" in line:
                progress(f"  {count} steps, now {line.strip()}")
    if process.returncode != 0:
        raise RuntimeError("go build failed:\n" + "\n".join(lines[-20:]))
