"""kubectl and helm against one cluster."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.paths import CACHE


@dataclass(frozen=True)
class Kubectl:
    """The two clients.

    Attributes:
        folder: where their binaries are; ``None`` takes them from PATH.
        kubeconfig: ``None`` means the current context of whoever calls.
    """

    folder: Path | None = None
    kubeconfig: Path | None = None

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Raises RuntimeError, with the command and its stderr, when it fails."""
        return self._checked(["kubectl", *args], stdin)

    def helm(self, *args: str) -> str:
        """Raises RuntimeError, with the command and its stderr, when it fails."""
        return self._checked(["helm", *args])

    def succeeds(self, *args: str) -> bool:
        return self._run(["kubectl", *args]).returncode == 0

    def _checked(self, command: list[str], stdin: str | None = None) -> str:
        done = self._run(command, stdin)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
        return done.stdout

    def _run(self, command: list[str], stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        program = str(self.folder / command[0]) if self.folder else command[0]
        return subprocess.run(
            [program, *command[1:]], input=stdin, capture_output=True, text=True, check=False, env=self._environment()
        )

    def _environment(self) -> dict[str, str]:
        if self.kubeconfig is None:
            return dict(os.environ)
        own = {
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(CACHE / "kubectl"),
            "HELM_CACHE_HOME": str(CACHE / "helm"),
            "HELM_CONFIG_HOME": str(CACHE / "helm"),
            "HELM_DATA_HOME": str(CACHE / "helm"),
        }
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(Path.home()), **own}
