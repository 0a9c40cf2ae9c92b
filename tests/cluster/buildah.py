"""Building images with buildah, in a storage of the test bed's own below the cache folder."""

import fcntl
import json
import os
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.cluster.paths import CACHE
from tests.cluster.shell import run

STORAGE = CACHE / "images"
_CERTIFICATES = "/etc/ssl/certs"
_INDEX_VARIABLES = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL",
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
"""How this machine reaches a package index: a build step needs the same, and no image keeps it."""


@dataclass(frozen=True)
class Layer:
    """One layer as it lies unpacked on this machine.

    Attributes:
        diff_id: the digest of the layer's archive, by which an image's configuration names it.
        size: of that archive, in bytes.
        folder: its files; what it removes from lower layers is marked as overlayfs does it.
    """

    diff_id: str
    size: int
    folder: Path


@dataclass(frozen=True)
class BuiltImage:
    """An image in the storage: its configuration, byte for byte, and its layers from the lowest up."""

    config: bytes
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)


def build(
    reference: str,
    context: Path,
    *,
    file: Path,
    arguments: Mapping[str, str],
    target: str = "",
    stages: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Build a Dockerfile (its stage ``target``) as ``reference``; steps of earlier builds are taken from the cache.

    Args:
        stages: stage → the image that stands for it; nothing is built for the stage itself.

    Raises:
        RuntimeError: a step failed; the message ends with what it printed.
    """
    with tempfile.NamedTemporaryFile("w", prefix="build-env-") as secret:
        secret.write(build_environment(os.environ))
        secret.flush()
        options = ["--isolation", "chroot", "--layers", "--pull-never"]
        options += ["--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro", "--secret", f"id=build-env,src={secret.name}"]
        options += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        options += [f"--build-context={stage}=container-image://{image}" for stage, image in stages.items()]
        options += ["--target", target] if target else []
        _buildah("build", *options, "--tag", reference, "--file", str(file), str(context))


def build_environment(env: Mapping[str, str]) -> str:
    """The shell fragment that build steps read; certificates are this machine's, mounted where Debian has them."""
    bundle = f"{_CERTIFICATES}/ca-certificates.crt"
    values = {name: env[name] for name in _INDEX_VARIABLES if env.get(name)}
    values |= {"SSL_CERT_FILE": bundle, "PIP_CERT": bundle}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def references() -> set[str]:
    """The names of all images in the storage."""
    return {name for image in _stored("images") for name in image.get("names", [])}


def image(reference: str) -> BuiltImage:
    """Look an image up in the storage's own records, which know where each layer lies.

    Raises:
        KeyError: there is no such image.
    """
    entry = next((image for image in _stored("images") if reference in image.get("names", [])), None)
    if entry is None:
        raise KeyError(reference)
    layers = {layer["id"]: layer for layer in _stored("layers")}
    chain = []
    top = entry["layer"]
    while top:
        layer = layers[top]
        chain.append(Layer(layer["diff-digest"], layer["diff-size"], STORAGE / "overlay" / top / "diff"))
        top = layer.get("parent", "")
    config = _buildah("inspect", "--type", "image", "--format", "{{.Config}}", reference).removesuffix("\n")
    return BuiltImage(config.encode(), tuple(reversed(chain)))


def remove_others(*names: str) -> None:
    """Of each name's repository, keep only that image; what other images are made of stays, without a name."""
    for name in superseded(references(), names):
        _buildah("rmi", "--force", name)


def superseded(present: Iterable[str], current: Iterable[str]) -> list[str]:
    """The images that are of the same repository as a current one, under another tag."""
    repositories = tuple(name.partition(":")[0] + ":" for name in current)
    return sorted(name for name in set(present) - set(current) if name.startswith(repositories))


def prune() -> None:
    """Remove the steps of earlier builds that no named image is made of, and containers that a killed build left.

    Only for a caller that is :func:`alone`: it ends builds that run.
    """
    _buildah("rm", "--all")
    _buildah("rmi", "--prune")


@contextmanager
def alone() -> Iterator[None]:
    """Hold the storage against other processes of the test bed. The lock goes with its process, however that ends."""
    STORAGE.mkdir(parents=True, exist_ok=True)
    with (STORAGE / "test-bed.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stored(kind: str) -> list[dict[str, Any]]:
    file = STORAGE / f"overlay-{kind}" / f"{kind}.json"
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return found


def _buildah(*args: str) -> str:
    """In a mount namespace of its own: what buildah mounts goes with it, also when it is killed."""
    places = ["--root", str(STORAGE), "--runroot", "/run/hunyuan-buildah", "--storage-driver", "overlay"]
    return run("unshare", "--mount", "buildah", *places, *args)
