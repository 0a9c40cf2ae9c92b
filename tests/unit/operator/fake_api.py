"""An API server in memory behind the operator's port, with hands to play scheduler and kubelets.

It knows as much of Kubernetes as the reconcile core relies on: names are unique, a deleted pod stays until its kubelet
lets it go, own writes are seen at once. What it shows is what the real cache keeps. ``crash_at`` makes it fail at the
n-th write, before or after it took effect.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.api.times import format_time
from hunyuan_operator.cluster.cache import key_of, slim
from hunyuan_operator.cluster.port import Event, Key
from hunyuan_operator.errors import Conflict, NotServed
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_operator.report import Result
from hunyuan_operator.settings import Settings

from hunyuan_runtime.config import NetworkReport, RuntimeStatus
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from hunyuan_runtime.train_config import TrainStatus

Object = dict[str, Any]
START = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
SETTINGS = Settings(
    runtime_image="registry.example/serve:1",
    namespace="hunyuan-system",
    identity="operator-0",
    train_image="registry.example/train:1",
)
NETWORK = NetworkReport(
    interface="eth0", links=1, bits_per_second=9_400_000_000, slowest="node-0 to node-1", latency_ms=0.12
)
"""What every leader's preflight finds."""


class Crash(Exception):
    """The operator's process ends here."""


@dataclass(kw_only=True)
class FakeApi:
    subject: Object
    """The resource that is reconciled."""
    fine_tunes: list[Object] = field(default_factory=list)
    now: datetime = START
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    runtime: dict[str, RuntimeStatus] = field(default_factory=dict)
    """What leaders answer, by address."""
    training: dict[str, TrainStatus] = field(default_factory=dict)
    """What ranks of fine-tunes answer, by address."""
    writes: list[str] = field(default_factory=list)
    refuse: Callable[[str, Manifest], Exception | None] = lambda verb, manifest: None
    """Asked before each write, as ``(verb, manifest)``."""
    not_served: set[str] = field(default_factory=set)
    """Versions of APIs that are not installed."""
    crash_at: int = 0
    crash_after_effect: bool = False
    _uids: int = 0

    # ---- the port ----------------------------------------------------------------------------------------------------

    def resource(self, key: Key) -> Manifest | None:
        there = [self.subject, *self.fine_tunes]
        return next((slim(copy.deepcopy(one)) for one in there if key_of(one) == key), None)

    def children(self, key: Key) -> list[Manifest]:
        labelled = (o for o in self.objects.values() if key_of(o) == key)
        return [slim(copy.deepcopy(o)) for o in labelled if o["kind"] not in ("Secret", names.POD_GROUP_KIND)]

    async def has_secret(self, key: Key, name: str) -> bool:
        return ("Secret", name) in self.objects

    async def apply(self, manifest: Manifest) -> None:
        there = self.objects.get((manifest["kind"], manifest["metadata"]["name"]))
        if there is None or there["metadata"]["uid"] != manifest["metadata"].get("uid", there["metadata"]["uid"]):
            raise Conflict("it is gone")
        if manifest["kind"] == "Pod":  # its metadata alone
            self._write("apply", manifest, lambda: there["metadata"].update(copy.deepcopy(manifest["metadata"])))
        else:
            self._check_version(manifest, there)
            self._write("apply", manifest, lambda: self._put(manifest))

    async def create(self, manifest: Manifest) -> None:
        if manifest["apiVersion"] in self.not_served:
            raise NotServed(f"{manifest['kind']} of {manifest['apiVersion']}")
        name = (manifest["kind"], manifest["metadata"]["name"])
        if name in self.objects:
            raise Conflict(f"{name} already exists")
        self._write("create", manifest, lambda: self._put(manifest))

    async def find(self, manifest: Manifest) -> Manifest | None:
        there = {**self.objects, (self.key.kind, self.key.name): self.subject}
        return copy.deepcopy(there.get((manifest["kind"], manifest["metadata"]["name"])))

    async def delete(self, manifest: Manifest) -> None:
        name = (manifest["kind"], manifest["metadata"]["name"])
        found = self.objects.get(name)
        if found is not None and found["metadata"]["uid"] == manifest["metadata"]["uid"]:
            self._write(
                "delete", manifest, lambda: self.remove(name, manifest["metadata"].get("deletionGracePeriodSeconds", 0))
            )

    async def patch_status(self, resource: Manifest, status: Manifest) -> Manifest:
        self._check_version(resource, self.subject)
        self._write("status", resource, lambda: self.subject.update(status=copy.deepcopy(dict(status))))
        return slim(copy.deepcopy(self.subject))

    async def emit(self, resource: Manifest, event: Event) -> None:
        self.events.append(event)

    async def log_tail(self, pod: Manifest, container: str, lines: int) -> str:
        return f"last words of {pod['metadata']['name']}/{container}\n"

    async def runtime_status(self, ip: str) -> RuntimeStatus | None:
        return self.runtime.get(ip)

    async def train_status(self, ip: str) -> TrainStatus | None:
        return self.training.get(ip)

    def _check_version(self, written: Manifest, there: Object) -> None:
        if written["metadata"].get("resourceVersion") != there["metadata"].get("resourceVersion"):
            raise Conflict("the object has been modified")

    def _write(self, verb: str, manifest: Manifest, effect: Callable[[], object]) -> None:
        if error := self.refuse(verb, manifest):
            raise error
        self.writes.append(f"{verb} {manifest['kind']} {manifest['metadata']['name']}")
        crash = len(self.writes) == self.crash_at
        if not crash or self.crash_after_effect:
            effect()
        if crash:
            raise Crash(self.writes[-1])

    def _put(self, manifest: Manifest) -> None:
        stored = copy.deepcopy(dict(manifest))
        name = (stored["kind"], stored["metadata"]["name"])
        if name in self.objects:
            stored["metadata"]["uid"] = self.objects[name]["metadata"]["uid"]
        else:
            self._uids += 1
            stored["metadata"]["uid"] = f"uid-{self._uids}"
        stored["metadata"].setdefault("creationTimestamp", format_time(self.now))
        stored["metadata"].setdefault("resourceVersion", "0")
        self.objects[name] = stored

    def remove(self, name: tuple[str, str], grace: int = 0) -> None:
        """A pod that ever got a node goes when its kubelet lets it; everything else goes at once.

        What belongs to something that goes is deleted after it.
        """
        gone = self.objects[name]
        metadata = gone["metadata"]
        if name[0] != "Pod" or not gone["spec"].get("nodeName"):
            del self.objects[name]
            for other, one in list(self.objects.items()):
                if any(owner["uid"] == metadata["uid"] for owner in one["metadata"].get("ownerReferences", [])):
                    self.remove(other)
            return
        grace = grace or gone["spec"].get("terminationGracePeriodSeconds", 30)
        deadline = format_time(self.now + timedelta(seconds=grace))
        if "deletionTimestamp" not in metadata or deadline < metadata["deletionTimestamp"]:
            metadata["deletionTimestamp"] = deadline
            metadata["deletionGracePeriodSeconds"] = grace

    # ---- hands -------------------------------------------------------------------------------------------------------

    @property
    def key(self) -> Key:
        metadata = self.subject["metadata"]
        return Key(self.subject["kind"], metadata["namespace"], metadata["name"])

    def condition(self, kind: str) -> tuple[str, str]:
        """``(status, reason)``, both empty when it is not there."""
        found = [(c["status"], c["reason"]) for c in self.subject["status"]["conditions"] if c["type"] == kind]
        return found[0] if found else ("", "")

    def message(self, kind: str) -> str:
        return next(str(c["message"]) for c in self.subject["status"]["conditions"] if c["type"] == kind)

    @property
    def pods(self) -> list[str]:
        return sorted(name for kind, name in self.objects if kind == "Pod")

    def pod(self, name: str) -> Object:
        return self.objects["Pod", name]

    async def pass_once(self) -> Result:
        raise NotImplementedError

    async def settle(self, passes: int = 10) -> Result:
        """Reconcile until a pass writes nothing."""
        for _ in range(passes):
            before = len(self.writes)
            result = await self.pass_once()
            if len(self.writes) == before:
                return result
        raise AssertionError(f"still writing after {passes} passes: {self.writes[-5:]}")

    def change(self, **spec: Any) -> None:
        self.subject["spec"] |= spec
        self.subject["metadata"]["generation"] += 1

    def ask_for_retry(self, word: str) -> None:
        """Someone says that the cause is gone."""
        self.subject["metadata"].setdefault("annotations", {})[names.RETRY] = word

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def live_pods(self) -> Iterator[Object]:
        for kind, name in sorted(self.objects):
            if kind == "Pod" and "deletionTimestamp" not in self.objects[kind, name]["metadata"]:
                yield self.objects[kind, name]

    def start_pods(self) -> None:
        """Scheduler and kubelets do their work: every pod runs, on a node of its own."""
        for number, pod in enumerate(self.live_pods()):
            if "status" not in pod or not pod["spec"].get("nodeName"):
                pod["spec"]["nodeName"] = f"node-{number}"
                running = {"name": "runtime", "state": {"running": {"startedAt": format_time(self.now)}}}
                pod["status"] = {
                    "phase": "Running",
                    "podIP": f"10.0.0.{number}",
                    "conditions": [{"type": "PodScheduled", "status": "True"}],
                    "initContainerStatuses": [_prepared(one["name"]) for one in pod["spec"].get("initContainers", [])],
                    "containerStatuses": [running],
                }

    def start_fetching(self) -> None:
        """Every pod has a node, and its init container fetches the model."""
        self.start_pods()
        for pod in self.live_pods():
            del pod["status"]["containerStatuses"]
            running = {"name": names.FETCH, "state": {"running": {"startedAt": format_time(self.now)}}}
            pod["status"] |= {"phase": "Pending", "initContainerStatuses": [running]}

    def trouble(self, name: str, message: str) -> None:
        """The scheduler finds no node."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.pod(name)["status"] = {"phase": "Pending", "conditions": [condition]}

    def end(
        self,
        name: str,
        cause: Cause | int,
        message: str = "",
        *,
        ago: float = 0,
        ranks: tuple[int, ...] = (),
        container: str = "runtime",
        **terminated: Any,
    ) -> None:
        """The container ended, by a cause of the runtime's or by another exit code."""
        text, code = message, cause if isinstance(cause, int) else cause.exit_code
        if isinstance(cause, Cause):
            text = TerminationMessage.of(
                RuntimeFailure(cause, message, ranks), rank=rank_of(self.pod(name))
            ).model_dump_json()
        finished = format_time(self.now - timedelta(seconds=ago))
        state = {"exitCode": code, "message": text, "reason": "Error", "finishedAt": finished} | terminated
        pod = self.pod(name)
        pod["status"]["phase"] = "Failed"
        pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
        kind = "containerStatuses" if container == "runtime" else "initContainerStatuses"
        pod["status"][kind] = [{"name": container, "state": {"terminated": state}}]

    def let_go(self) -> None:
        """Kubelets finish what is being deleted."""
        for name in [name for name, o in self.objects.items() if "deletionTimestamp" in o["metadata"]]:
            del self.objects[name]

    def evaporate(self, name: str) -> None:
        """A pod goes without a trace, as by a forced deletion."""
        del self.objects["Pod", name]


def rank_of(pod: Object) -> int:
    labels = pod["metadata"]["labels"]
    return int(labels.get(names.RANK) or labels[names.COMPLETION_INDEX])


def _prepared(name: str) -> Object:
    """An init container that did its work."""
    message = NETWORK.model_dump_json() if name == names.PREFLIGHT else ""
    return {"name": name, "state": {"terminated": {"exitCode": 0, "message": message}}}
