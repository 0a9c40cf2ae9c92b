"""The Debian packages of the test bed."""

import os
import subprocess
from collections.abc import Callable

from tests.cluster import prerequisites
from tests.cluster.prerequisites import PrerequisitesMissing
from tests.cluster.shell import run


def install_missing(progress: Callable[[str], None]) -> None:
    """Install what is not there, by apt; nothing is called when nothing is missing.

    Raises:
        PrerequisitesMissing: something is missing and can't be installed here.
        RuntimeError: apt failed.
    """
    programs = prerequisites.PROGRAMS | prerequisites.NODE_PROGRAMS
    packages = sorted({package for program, package in programs.items() if not prerequisites.available(program)})
    if not packages:
        return
    names = " ".join(packages)
    if os.geteuid() != 0 or not prerequisites.available("apt-get"):
        raise PrerequisitesMissing(f"Only root on Debian can install the packages that are missing: {names}.")
    progress(f"installing {names}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if subprocess.run(install, env=environment, capture_output=True, check=False).returncode != 0:
        run("apt-get", "update", "-q")  # the usual reason: no package lists, or old ones
        done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(install)}: {done.stderr.strip()}")
