"""The base image: a minimal Debian 12 with what both Dockerfiles would install, made by debootstrap."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster import buildah
from tests.cluster.paths import CACHE
from tests.cluster.shell import run

REPOSITORY = "localhost/hunyuan-base"
SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "libnuma1")
_LEFT_OUT = (
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
)
_DOCKERFILE = "FROM scratch\nADD root.tar /\n"


def reference() -> str:
    made_from = " ".join((SUITE, *PACKAGES, *_LEFT_OUT, _DOCKERFILE))
    return f"{REPOSITORY}:{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"


def ensure(progress: Callable[[str], None]) -> str:
    """Have the base image, and return its name."""
    name = reference()
    if name in buildah.references():
        return name
    progress(f"building {name}: Debian by debootstrap, a minute or two")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="base-") as folder:
        root, context = Path(folder) / "root", Path(folder) / "context"
        context.mkdir()
        targets = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Identifier: Packages")
        run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), *mirror(targets))
        left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
        run("tar", "--create", "--numeric-owner", *left_out, f"--file={context}/root.tar", f"--directory={root}", ".")
        (context / "Dockerfile").write_text(_DOCKERFILE)
        buildah.build(name, context, file=context / "Dockerfile", arguments={})
    buildah.remove_others(name)
    return name


def mirror(index_targets: str) -> list[str]:
    """Where this machine's apt gets the suite from, from lines of "site release"; empty leaves it to debootstrap."""
    sites = (line.split() for line in index_targets.splitlines())
    return [site for site, release in sites if release == SUITE][:1]
