"""What the components change on the machine itself, remembered before they do and put back when the cluster goes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.cluster.paths import STATE

_MEMORY = STATE / "machine.json"
KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""The kubelet sets these, and there is one of each for the whole machine."""


def remember(folders: Iterable[Path]) -> None:
    """Note the kernel's settings, and make ``folders``, noting which of them (and their parents) were not there.

    Only the first call of a cluster's life notes settings: at a later one they are already the kubelet's.
    """
    memory = _load() or {"settings": _settings(), "folders": []}
    for folder in folders:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        memory["folders"].extend(str(path) for path in missing)
    _MEMORY.write_text(json.dumps(memory))
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def restore() -> None:
    memory = _load()
    if memory is None:
        return
    for name, value in memory["settings"].items():
        file = Path("/proc/sys") / name
        if file.read_text() != value:
            file.write_text(value)
    for folder in sorted(map(Path, memory["folders"]), key=lambda path: -len(path.parts)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _settings() -> dict[str, str]:
    return {name: (Path("/proc/sys") / name).read_text() for name in KERNEL_SETTINGS}


def _load() -> dict[str, Any] | None:
    memory: dict[str, Any] | None = json.loads(_MEMORY.read_text()) if _MEMORY.exists() else None
    return memory
