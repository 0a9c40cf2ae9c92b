"""An image of one static program, written as an archive that ``ctr images import`` reads."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO


def write(target: Path, program: Path, reference: str) -> None:
    """Write the image ``reference`` as a docker-archive: ``program`` in an empty root, as entry point."""
    layer = _layer(program)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]).encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as archive:
        for name, content in (("manifest.json", manifest), (config_name, config), ("layer.tar", layer)):
            _add(archive, name, len(content), io.BytesIO(content))


def _layer(program: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer, program.open("rb") as content:
        _add(layer, program.name, program.stat().st_size, content, mode=0o755)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes], mode: int = 0o644) -> None:
    """Without times and owners, so that the same program gives the same image."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    archive.addfile(entry, content)
