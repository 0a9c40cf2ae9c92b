"""The project's images on the test bed: built from the sources as they are, given to each node.

An image's tag is a hash of all that it is made from. So nothing is built or loaded twice, and a changed source is a new
image that a Deployment notices.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import base_image, buildah, handover
from tests.cluster.nodes import Node
from tests.stack import ROOT, Images

Progress = Callable[[str], None]

PROJECT = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "hunyuan_runtime", "operator", "requirements/build.txt")
"""What the project's own wheel is made from."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One of the images.

    Attributes:
        dependencies: what the Dockerfile's stage "dependencies" is made from, beside the base image.
    """

    repository: str
    dockerfile: str
    dependencies: tuple[str, ...]
    device: str = ""

    def arguments(self, base: str) -> dict[str, str]:
        return {"BASE_IMAGE": base} | ({"DEVICE": self.device} if self.device else {})

    @property
    def alias(self) -> str:
        """The name in manifests that people apply by hand."""
        return f"{self.repository}:dev"


OPERATOR = Recipe(
    repository="localhost/hunyuan-operator",
    dockerfile="Dockerfile",
    dependencies=("Dockerfile", "requirements/build.txt", "requirements/operator.txt"),
)
SERVE = Recipe(
    repository="localhost/hunyuan-serve",
    dockerfile="images/serve/Dockerfile",
    dependencies=("images/serve", "requirements/build.txt", "requirements/serve-cpu.txt"),
    device="cpu",
)


def content_hash(root: Path, paths: Iterable[str], *more: str) -> str:
    """A hash of the names and contents of files; of a folder, all that lies in it but bytecode."""
    total = hashlib.sha256("\0".join(more).encode())
    for file in sorted(_files(root, paths)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"\0{file.relative_to(root)}\0{content}".encode())
    return total.hexdigest()[:12]


def ensure(progress: Progress) -> Images:
    """Have both images in the builder's storage, and return their names; only what changed is built."""
    with buildah.alone():
        base = base_image.ensure(progress)
        return Images(operator=_ensure(OPERATOR, base, progress), serve=_ensure(SERVE, base, progress))


def load_into(node: Node, images: Images, progress: Progress) -> None:
    """Give the node both images, and take earlier ones from it; what it has already costs a second.

    Told each time, because a restarted containerd forgets for the kubelet the images whose layers' archives it lacks.
    """
    for recipe, reference in ((OPERATOR, images.operator), (SERVE, images.serve)):
        begin = time.monotonic()
        before = _present(node, recipe.repository)
        handover.hand_over(node, buildah.image(reference), (reference, recipe.alias))
        if earlier := sorted(before - {reference, recipe.alias}):
            node.ctr("images", "remove", *earlier)
        if reference not in before:
            progress(f"{node.name} has {reference} ({_took(begin)})")


def _ensure(recipe: Recipe, base: str, progress: Progress) -> str:
    dependencies = content_hash(ROOT, recipe.dependencies, base)
    # Named as well, so that the large layer of an earlier lock can be told from the current one.
    layer = f"{recipe.repository}-dependencies:{dependencies}"
    reference = f"{recipe.repository}:{content_hash(ROOT, PROJECT, dependencies)}"
    if layer not in buildah.references():
        _build(layer, recipe, base, progress, target="dependencies")
        buildah.remove_others(layer, reference)
        buildah.prune()
    if reference not in buildah.references():
        _build(reference, recipe, base, progress)
        buildah.remove_others(reference)
    return reference


def _build(name: str, recipe: Recipe, base: str, progress: Progress, target: str = "") -> None:
    progress(f"building {name}")
    begin = time.monotonic()
    buildah.build(name, ROOT, file=ROOT / recipe.dockerfile, target=target, arguments=recipe.arguments(base))
    progress(f"built {name}: {buildah.image(name).size / 1e9:.1f} GB, {_took(begin)}")


def _present(node: Node, repository: str) -> set[str]:
    """The node's images of a repository."""
    return {name for name in node.ctr("images", "list", "--quiet").split() if name.startswith(f"{repository}:")}


def _files(root: Path, paths: Iterable[str]) -> Iterator[Path]:
    for path in map(root.joinpath, paths):
        yield from [path] if path.is_file() else (f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc")


def _took(begin: float) -> str:
    return f"{time.monotonic() - begin:.0f} s"
