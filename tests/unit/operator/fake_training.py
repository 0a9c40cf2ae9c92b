"""A cluster with one HunyuanFineTune, and hands to play the Job controller and the trainer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.api.finetune_status import HunyuanFineTuneStatus
from hunyuan_operator.api.times import format_time
from hunyuan_operator.reconcile_finetune import reconcile_finetune
from hunyuan_operator.report import Result

from hunyuan_runtime.config import RuntimeStatus
from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage, StageReport, TrainStatus
from tests.unit.operator.fake_api import SETTINGS, FakeApi, Object, rank_of

REPORTS = {
    Stage.CHECK: StageReport(stage=Stage.CHECK, examples=64, tokens=9000, message="64 conversations, 9000 tokens"),
    Stage.TRAIN: StageReport(stage=Stage.TRAIN, steps=200, loss=0.0625, message="200 steps, loss 0.0625"),
    Stage.MERGE: StageReport(
        stage=Stage.MERGE, model="merged", digest="bbbb", adapter="adapter", adapter_digest="aaaa", message="7 shards"
    ),
    Stage.QUANTIZE: StageReport(stage=Stage.QUANTIZE, model="fp8", digest="cccc", message="4 shards"),
    Stage.EVALUATE: StageReport(
        stage=Stage.EVALUATE, loss=0.25, accuracy=0.5, field_accuracy=0.75, message="exact match 0.5 of 500"
    ),
}
"""What each stage leaves when it succeeds."""


def fine_tune(name: str = "car", **spec: Any) -> Object:
    """Two pods of one GPU each, unless ``spec`` says otherwise."""
    base: Object = {
        "model": {"pvc": {"claimName": "models", "path": "tiny"}},
        "data": {"pvc": {"claimName": "data", "path": "car_train.jsonl"}},
        "output": {"pvc": {"claimName": "models", "path": "car"}},
        "nodes": 2,
        "gpusPerNode": 1,
    }
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.FINE_TUNE_KIND,
        "metadata": {"name": name, "namespace": "demo", "uid": f"uid-of-{name}", "generation": 1},
        "spec": base | spec,
    }


@dataclass(kw_only=True)
class FakeTraining(FakeApi):
    @property
    def status(self) -> HunyuanFineTuneStatus:
        return HunyuanFineTuneStatus.model_validate(self.subject["status"])

    @property
    def jobs(self) -> list[str]:
        return sorted(name for kind, name in self.objects if kind == "Job")

    async def pass_once(self) -> Result:
        return await reconcile_finetune(self.key, self, self.now, SETTINGS, lambda: "token")

    def pods_of(self, job: str) -> list[Object]:
        """By rank."""
        mine = [pod for pod in map(self.pod, self.pods) if pod["metadata"]["ownerReferences"][0]["name"] == job]
        return sorted(mine, key=rank_of)

    def create_pods(self) -> None:
        """The Job controller makes the pods of every Job that has none."""
        for job in (self.objects["Job", name] for name in self.jobs):
            if "status" in job:
                continue
            job["status"] = {}
            for index in range(job["spec"]["completions"]):
                self._put(self._pod_of(job, index))

    def _pod_of(self, job: Object, index: int) -> Object:
        metadata, template = job["metadata"], job["spec"]["template"]
        owner = {"kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        mark = {names.COMPLETION_INDEX: str(index)}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{metadata['name']}-{index}-x{len(self.writes)}",
                "namespace": metadata["namespace"],
                "labels": template["metadata"]["labels"] | mark,
                "annotations": template["metadata"]["annotations"] | mark,
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }

    def run(self) -> None:
        self.create_pods()
        self.start_pods()

    def control_jobs(self) -> None:
        """What Kubernetes does about pods that ended: one that failed is the end of all."""
        for name in self.jobs:
            job, pods = self.objects["Job", name], self.pods_of(name)
            phases = [pod["status"]["phase"] for pod in pods if "status" in pod]
            if "Failed" in phases:
                for pod in pods:
                    if pod["status"]["phase"] == "Running":
                        self.remove(("Pod", pod["metadata"]["name"]))
                if "Running" not in phases:
                    job["status"] = {
                        "conditions": [self._true("Failed", "Job has reached the specified backoff limit")]
                    }
            elif phases == ["Succeeded"] * job["spec"]["completions"]:
                job["status"] = {"conditions": [self._true("Complete", "")]}

    def _true(self, kind: str, message: str) -> Object:
        return {"type": kind, "status": "True", "message": message, "lastTransitionTime": format_time(self.now)}

    def fail(self, job: str, rank: int, cause: Cause | int, message: str = "", **how: Any) -> None:
        self.end(self.pods_of(job)[rank]["metadata"]["name"], cause, message, **how)
        self.control_jobs()

    def succeed(self, job: str, report: StageReport | None = None) -> None:
        """Every rank ends well; rank 0 leaves the report."""
        stage = Stage(self.objects["Job", job]["metadata"]["labels"][names.STAGE])
        told = report or REPORTS[stage]
        for pod in self.pods_of(job):
            text = told.model_dump_json() if rank_of(pod) == 0 else ""
            state = {"exitCode": 0, "reason": "Completed", "message": text, "finishedAt": format_time(self.now)}
            pod["status"] |= {
                "phase": "Succeeded",
                "containerStatuses": [{"name": "runtime", "state": {"terminated": state}}],
            }
        self.control_jobs()

    def live_running(self) -> Iterator[Object]:
        return (pod for pod in self.live_pods() if pod.get("status", {}).get("phase") == "Running")

    def tell(self, told: TrainStatus | RuntimeStatus) -> None:
        """Every rank 0 answers so."""
        for pod in self.live_pods():
            if rank_of(pod) == 0:
                answers: Any = self.runtime if isinstance(told, RuntimeStatus) else self.training
                answers[pod["status"]["podIP"]] = told

    async def until(self, stage: Stage | None) -> None:
        """Play until this stage's pods run; None is until all stages are done."""
        for _ in range(30):
            await self.settle()
            if self.status.stage == (stage or ""):
                self.run()
                if stage is None or any(f"-{stage}-" in pod for pod in self.pods):
                    await self.settle()
                    return
            self.let_go()
            self.run()
            for job in self.jobs:
                if self.status.stage and f"-{self.status.stage}-" in job:
                    self.succeed(job)
            self.advance(15)
        raise AssertionError(f"never came to {stage}: {self.subject['status']}")
