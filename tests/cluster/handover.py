"""Handing a built image to a node's containerd without packing and unpacking it.

An archive of the serving image holds gigabytes: to write it, to read it on every node and to unpack it there takes
minutes and three times the space. But its layers lie unpacked in the builder's storage already, in the form in which
containerd keeps them. So each layer becomes a snapshot made of hard links, under the name that containerd itself gives
it (the chain id), and the archive that is imported holds manifest and configuration only: containerd finds that all is
unpacked already. A layer that a node has is not touched again, so a change of the code costs as much as the code's own
layer.
"""

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster.buildah import BuiltImage, Layer
from tests.cluster.nodes import Node
from tests.cluster.shell import run

CONTAINERD_ROOT = "/var/lib/containerd"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """The names of the snapshots of a stack of layers, from the lowest up (OCI image specification: Layer ChainID)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(_digest(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def manifest(image: BuiltImage) -> bytes:
    """The image's manifest, with uncompressed layers."""
    layers = [(layer.diff_id, layer.size) for layer in image.layers]
    content = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", _digest(image.config), len(image.config)),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", *layer) for layer in layers],
    }
    return json.dumps(content).encode()


def archive(image: BuiltImage, references: Sequence[str]) -> bytes:
    """An OCI archive of all but the layers, which gives the image each of the names."""
    content = manifest(image)
    names = [{"io.containerd.image.name": reference} for reference in references]
    entry = _descriptor(_MANIFEST_TYPE, _digest(content), len(content))
    index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": name} for name in names]}
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **{f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in (content, image.config)},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, blob in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(blob)
            tar.addfile(member, io.BytesIO(blob))
    return buffer.getvalue()


def hand_over(node: Node, image: BuiltImage, references: Sequence[str]) -> None:
    """Give the node the image under each of the names."""
    chain = chain_ids(layer.diff_id for layer in image.layers)
    present = {line.split()[0] for line in node.ctr("snapshots", "list").splitlines()}
    for layer, name, parent in zip(image.layers, chain, ["", *chain], strict=False):
        if name not in present:
            if _partial(name) in present:  # an earlier hand-over was killed
                node.ctr("snapshots", "remove", _partial(name))
            _add_snapshot(node, layer, name, parent)
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(archive(image, references))
        file.flush()
        node.ctr("images", "import", file.name)
    for name in chain:  # from here on the image holds them; containerd removes them with the image
        node.ctr("snapshots", "label", name, "containerd.io/gc.root=")


def _add_snapshot(node: Node, layer: Layer, name: str, parent: str) -> None:
    key = _partial(name)
    node.ctr("snapshots", "prepare", key, *([parent] if parent else []))
    target = snapshot_folder(node.ctr("snapshots", "mounts", "/unused", key), node.images)
    run("cp", "--archive", "--link", f"{layer.folder}/.", str(target))
    node.ctr("snapshots", "commit", name, key)


def _partial(name: str) -> str:
    return f"handover-{name}"


def snapshot_folder(mounts: str, root: Path) -> Path:
    """Where a snapshot's own files lie on this machine, from the mount command that containerd prints for it."""
    found = re.search(rf"(?:upperdir=| ){CONTAINERD_ROOT}/(\S*?/snapshots/\d+/fs)", mounts)
    assert found, f"containerd's overlayfs snapshotter names a folder: {mounts!r}"
    return root / found[1]


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
