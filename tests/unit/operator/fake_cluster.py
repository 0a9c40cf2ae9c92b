"""A cluster with one HunyuanDeployment, and hands to play its runtime."""

from dataclasses import dataclass
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeploymentStatus
from hunyuan_operator.reconcile import reconcile
from hunyuan_operator.report import Result

from hunyuan_runtime.config import Phase, Progress, RuntimeStatus
from tests.unit.operator.fake_api import NETWORK, SETTINGS, Crash, FakeApi, Object

__all__ = ["NETWORK", "SETTINGS", "Crash", "FakeCluster", "Object", "deployment"]

ARCHITECTURE: Object = {
    "numHiddenLayers": 4,
    "hiddenSize": 1280,
    "intermediateSize": 256,
    "vocabSize": 1024,
    "numAttentionHeads": 16,
}
"""So small that it fits wherever it is put, and even over up to 16 tensor parallel ranks."""


def deployment(name: str = "tiny", **spec: Any) -> Object:
    """Two pods of one GPU each, unless ``spec`` says otherwise."""
    base: Object = {
        "model": {"pvc": {"claimName": "models", "path": "tiny"}, "architecture": ARCHITECTURE},
        "gpus": {"perNode": 1},
        "parallelism": {"tensor": 2},
    }
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "HunyuanDeployment",
        "metadata": {"name": name, "namespace": "demo", "uid": f"uid-of-{name}", "generation": 1},
        "spec": base | spec,
    }


@dataclass(kw_only=True)
class FakeCluster(FakeApi):
    @property
    def status(self) -> HunyuanDeploymentStatus:
        return HunyuanDeploymentStatus.model_validate(self.subject["status"])

    async def pass_once(self) -> Result:
        return await reconcile(self.key, self, self.now, SETTINGS, lambda: "token")

    def tell(self, phase: Phase, message: str = "", joined: int = 0, progress: Progress | None = None) -> None:
        """Every leader answers so."""
        for pod in self.live_pods():
            if pod["metadata"]["labels"][names.ROLE] == "leader":
                told = RuntimeStatus(phase=phase, message=message, ranks_joined=joined, progress=progress)
                self.runtime[pod["status"]["podIP"]] = told

    def make_ready(self) -> None:
        for pod in self.live_pods():
            conditions = [c for c in pod["status"]["conditions"] if c["type"] != "Ready"]
            pod["status"]["conditions"] = [*conditions, {"type": "Ready", "status": "True"}]

    async def serve(self) -> None:
        """Play until every group is ready."""
        for _ in range(20):
            await self.settle()
            if self.condition("Ready")[0] == "True":
                return
            self.let_go()
            self.start_pods()
            self.make_ready()
            self.advance(1)
        raise AssertionError(f"never ready: {self.subject['status']}")
