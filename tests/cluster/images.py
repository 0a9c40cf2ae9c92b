"""The project's images on the test bed: built from the sources as they are, given to each node.

An image's tag is a hash of all that it is made from. So nothing is built or loaded twice, and a changed source is a new
image that a Deployment notices.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
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
        dependencies: what the Dockerfile's stage "dependencies" is made from, beside the images that it starts from.
        serve: the image whose dependencies this one's are added to.
    """

    repository: str
    dockerfile: str
    dependencies: tuple[str, ...]
    device: str = ""
    serve: "Recipe | None" = None

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
TRAIN = Recipe(
    repository="localhost/hunyuan-train",
    dockerfile="images/train/Dockerfile",
    dependencies=(
        "images/train",
        *(f"requirements/{name}.txt" for name in ("build", "cuda-compiler", "serve-cpu", "train-cpu")),
    ),
    device="cpu",
    serve=SERVE,
)
RECIPES = (OPERATOR, SERVE, TRAIN)


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a recipe's images are called, made from the sources as they are.

    Attributes:
        dependencies: the image of the stage of that name. Named as well, so that the large layer of an earlier lock can
            be told from the current one.
        arguments: for the Dockerfile.
    """

    reference: str
    dependencies: str
    arguments: Mapping[str, str]


def names(recipe: Recipe, base: str) -> Names:
    arguments = {"BASE_IMAGE": base} | ({"DEVICE": recipe.device} if recipe.device else {})
    below = base
    if recipe.serve:
        below = names(recipe.serve, base).dependencies
        arguments["SERVE_DEPENDENCIES"] = below
    dependencies = content_hash(ROOT, recipe.dependencies, below)
    return Names(
        reference=f"{recipe.repository}:{content_hash(ROOT, PROJECT, dependencies)}",
        dependencies=f"{recipe.repository}-dependencies:{dependencies}",
        arguments=arguments,
    )


def content_hash(root: Path, paths: Iterable[str], *more: str) -> str:
    """A hash of the names and contents of files; of a folder, all that lies in it but bytecode."""
    total = hashlib.sha256("\0".join(more).encode())
    for file in sorted(_files(root, paths)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"\0{file.relative_to(root)}\0{content}".encode())
    return total.hexdigest()[:12]


def ensure(progress: Progress) -> Images:
    """Have the operator's and the serving image in the builder's storage; only what changed is built.

    The training image is named only: who needs it asks for it (:func:`ensure_train`), since it takes minutes at first.
    """
    with buildah.alone():
        base = base_image.ensure(progress)
        return Images(
            operator=_ensure(OPERATOR, base, progress),
            serve=_ensure(SERVE, base, progress),
            train=names(TRAIN, base).reference,
        )


def ensure_train(progress: Progress) -> str:
    """Have the training image too, once :func:`ensure` has made what it starts from, and return its name."""
    with buildah.alone():
        return _ensure(TRAIN, base_image.ensure(progress), progress)


def load_into(node: Node, images: Images, progress: Progress) -> None:
    """Give the node the two images, and take earlier ones from it that no container is of; a second, if it has them.

    It is told each time: a restarted containerd does not offer the kubelet images whose layers' archives it lacks.
    """
    _hand_over(node, OPERATOR, images.operator, progress)
    _hand_over(node, SERVE, images.serve, progress)
    present = _present(node)
    current = {images.operator, images.serve, OPERATOR.alias, SERVE.alias}
    if images.train in present:
        current |= {images.train, TRAIN.alias}
    used = {line.split()[1] for line in node.ctr("containers", "list").splitlines()[1:]}
    if earlier := superseded(present, current, used):
        node.ctr("images", "remove", *earlier)


def load_train_into(node: Node, reference: str, progress: Progress) -> None:
    """Give the node the training image; earlier ones go when :func:`load_into` finds them unused."""
    _hand_over(node, TRAIN, reference, progress)


def superseded(present: Mapping[str, str], current: Collection[str], used: Collection[str]) -> list[str]:
    """Which of a node's images can go.

    Args:
        present: name → digest. The kubelet's side gives each image a second name, the digest of its configuration.
        current: the names that stay.
        used: the names that containers were made from, running or not.
    """
    own = tuple(f"{recipe.repository}:" for recipe in RECIPES)
    in_use = {present.get(name) for name in used}
    old = {name for name, digest in present.items() if name.startswith(own) and digest not in in_use} - set(current)
    named = {digest for name, digest in present.items() if not name.startswith("sha256:") and name not in old}
    nameless = {name for name, digest in present.items() if name.startswith("sha256:") and digest not in named | in_use}
    return sorted(old | nameless)


def _ensure(recipe: Recipe, base: str, progress: Progress) -> str:
    wanted = names(recipe, base)
    file = ROOT / recipe.dockerfile
    if wanted.dependencies not in buildah.references():
        with _told(wanted.dependencies, progress):
            buildah.build(wanted.dependencies, ROOT, file=file, arguments=wanted.arguments, target="dependencies")
        buildah.remove_others(wanted.dependencies, wanted.reference)
        buildah.prune()
    if wanted.reference not in buildah.references():
        with _told(wanted.reference, progress):
            # On the image that is there, whether or not the builder still has the steps that led to it.
            stages = {"dependencies": wanted.dependencies}
            buildah.build(wanted.reference, ROOT, file=file, arguments=wanted.arguments, stages=stages)
        buildah.remove_others(wanted.reference)
    return wanted.reference


@contextmanager
def _told(name: str, progress: Progress) -> Iterator[None]:
    progress(f"building {name}")
    begin = time.monotonic()
    yield
    progress(f"built {name}: {buildah.image(name).size / 1e9:.1f} GB, {_took(begin)}")


def _hand_over(node: Node, recipe: Recipe, reference: str, progress: Progress) -> None:
    begin = time.monotonic()
    new = reference not in _present(node)
    handover.hand_over(node, buildah.image(reference), (reference, recipe.alias))
    if new:
        progress(f"{node.name} has {reference} ({_took(begin)})")


def _present(node: Node) -> dict[str, str]:
    """The node's images: name → digest."""
    lines = [line.split() for line in node.ctr("images", "list").splitlines()[1:]]
    return {name: digest for name, _type, digest, *_ in lines}


def _files(root: Path, paths: Iterable[str]) -> Iterator[Path]:
    for path in map(root.joinpath, paths):
        yield from [path] if path.is_file() else (f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc")


def _took(begin: float) -> str:
    return f"{time.monotonic() - begin:.0f} s"
