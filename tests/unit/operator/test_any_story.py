"""Any story of a deployment, told through the operator's real watch cache: events come late, twice, in another order or
never, any write fails with or without effect, processes end, an earlier leader comes back with its old picture, status
is lost or an old one comes back.

Whatever the story, at each of the operator's own writes:

- no pod of a new attempt is created while one of an earlier attempt may still run;
- a rollout takes down one ready group at most, and that only while all others are ready;
- an attempt that failed is in ``lastFailure``.

And when the faults stop, every group is ready again, and then nothing more is written.
"""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeploymentStatus
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.api.times import format_time, parse_time
from hunyuan_operator.cluster.cache import Cache
from hunyuan_operator.cluster.kinds import CHILDREN
from hunyuan_operator.cluster.port import Key
from hunyuan_operator.errors import Conflict, Refused, Unavailable
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_operator.observe.world import observe
from hunyuan_operator.plan.groups import is_ready, recall
from hunyuan_operator.plan.leaving import OVERDUE
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from hunyuan_runtime.termination import Cause
from tests.unit.operator.fake_cluster import Crash, FakeCluster, Object, deployment

_WATCHED = {kind.name for kind in CHILDREN}
_FAULTS: dict[str, Callable[[], Exception]] = {
    "unavailable": lambda: Unavailable("no answer"),
    "conflict": lambda: Conflict("someone else wrote"),
    "quota": lambda: Refused(Reason.QUOTA_EXCEEDED, "exceeded quota"),
    "crash": lambda: Crash("the process ends"),
}


@dataclass(kw_only=True)
class WatchedCluster(FakeCluster):
    """What the operator sees of it went through a watch. ``pending`` are events that have not come yet."""

    cache: Cache = field(default_factory=Cache)
    pending: list[tuple[str, Object]] = field(default_factory=list)
    fault: tuple[int, str, bool] | None = None
    """Writes until the next fault, which one, and whether the write takes effect all the same."""
    ready_before: frozenset[int] = frozenset()
    taken_down: set[int] = field(default_factory=set)
    _published: dict[str, Object] = field(default_factory=dict)
    _version: int = 0

    # ---- what the operator sees --------------------------------------------------------------------------------------

    def resource(self, key: Key) -> Manifest | None:
        return copy.deepcopy(self.cache.resource(key))

    def children(self, key: Key) -> list[Manifest]:
        return copy.deepcopy(self.cache.children(key))

    def publish(self) -> None:
        """What has changed gets a new version, and an event of it is on its way."""
        there = {one["metadata"]["uid"]: one for one in (self.subject, *self.objects.values()) if _is_watched(one)}
        for uid, one in there.items():
            if _content(one) != self._published.get(uid):
                self._version += 1
                one["metadata"]["resourceVersion"] = str(self._version)
                self._published[uid] = _content(one)
                self.pending.append(("MODIFIED", copy.deepcopy(one)))
        for uid in self._published.keys() - there:
            self._version += 1
            gone = copy.deepcopy(self._published.pop(uid))
            gone["metadata"]["resourceVersion"] = str(self._version)
            self.pending.append(("DELETED", gone))

    def deliver(self, number: int) -> None:
        kind, manifest = self.pending[number % len(self.pending)]
        _ = self.cache.remove(manifest) if kind == "DELETED" else self.cache.put(manifest)

    def sync(self) -> None:
        """A list, as at each start and each new watch."""
        self.publish()
        there = [one for one in (self.subject, *self.objects.values()) if _is_watched(one)]
        for one in there:
            self.cache.put(copy.deepcopy(one))
        for kind in {self.subject["kind"], *_WATCHED}:
            self.cache.retain(kind, "", {one["metadata"]["uid"] for one in there}, self._version)

    def restart(self) -> None:
        self.cache = Cache()
        self.sync()

    # ---- what it writes ----------------------------------------------------------------------------------------------

    def _write(self, verb: str, manifest: Manifest, effect: Callable[[], object]) -> None:
        name = (manifest["kind"], manifest["metadata"]["name"])
        if self.fault:
            left, which, takes_effect = self.fault
            self.fault = (left - 1, which, takes_effect) if left else None
            if not left:
                if takes_effect and which in ("unavailable", "crash"):
                    super()._write(verb, manifest, effect)
                    self.publish()
                raise _FAULTS[which]()
        if verb == "delete" and name[0] == "Pod":
            self._take_down(self.pod(name[1]))
        super()._write(verb, manifest, effect)
        uid = self.subject["metadata"]["uid"] if verb == "status" else manifest["metadata"].get("uid", "")
        self.publish()
        stored = self.subject if verb == "status" else self.objects.get(name)
        if stored is None:
            self.cache.discard(uid)
        elif _is_watched(stored):
            self.cache.put(copy.deepcopy(stored))

    async def create(self, manifest: Manifest) -> None:
        if manifest["kind"] == "Pod":
            self._check_seat(manifest)
        await super().create(manifest)

    def _check_seat(self, new: Manifest) -> None:
        labels = new["metadata"]["labels"]
        for name in self.pods:
            metadata = self.pod(name)["metadata"]
            if metadata["labels"][names.GROUP_INDEX] != labels[names.GROUP_INDEX] or name == new["metadata"]["name"]:
                continue
            same_attempt = metadata["labels"][names.ATTEMPT] == labels[names.ATTEMPT]
            deadline = metadata.get("deletionTimestamp")
            overdue = deadline is not None and self.now >= parse_time(deadline) + OVERDUE
            assert same_attempt or overdue, f"{new['metadata']['name']} is created while {name} may still run"
            assert not same_attempt or metadata["labels"][names.RANK] != labels[names.RANK]

    def _take_down(self, pod: Object) -> None:
        group = int(pod["metadata"]["labels"][names.GROUP_INDEX])
        if group in self.ready_before and group in self.wanted:
            self.taken_down.add(group)
            assert self.taken_down == {group}, f"one pass takes down groups {self.taken_down}"
            missing = self.wanted - self.ready_before
            assert not missing, f"group {group} is ready and is taken down while {missing} are not"

    # ---- the operator ------------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> set[int]:
        seen = self.cache.resource(self.key)
        return set() if seen is None or seen["spec"].get("suspend") else set(range(seen["spec"].get("groups", 1)))

    def ready_groups(self) -> frozenset[int]:
        """As far as the operator can see."""
        seen = self.cache.resource(self.key)
        status = HunyuanDeploymentStatus.model_validate((seen or {}).get("status", {}))
        observed = observe(self.cache.children(self.key), self.subject["metadata"]["uid"])
        known = {group.index: recall(group, observed.group(group.index)) for group in status.group_statuses}
        return frozenset(index for index, memory in known.items() if is_ready(memory, observed.group(index)))

    async def operate(self) -> None:
        """A pass of a process that may end in its middle."""
        self.publish()
        self.ready_before, self.taken_down = self.ready_groups(), set()
        before = _failed(self.subject)
        try:
            await self.pass_once()
        except Crash:
            self.restart()
        except (Unavailable, Conflict, Refused):
            pass
        new = _failed(self.subject) - before
        failure = self.subject.get("status", {}).get("lastFailure", {})
        assert not new or (failure["group"], failure["attempt"], failure["reason"]) in new, (new, failure)


def _is_watched(manifest: Manifest) -> bool:
    return manifest["kind"] in {names.DEPLOYMENT_KIND, *_WATCHED}


def _is_ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" for one in pod.get("status", {}).get("conditions", []))


def _content(manifest: Object) -> Object:
    copied = copy.deepcopy(manifest)
    copied["metadata"].pop("resourceVersion", None)
    return copied


def _failed(subject: Object) -> set[tuple[int, int, str]]:
    groups = subject.get("status", {}).get("groupStatuses", [])
    return {(g["index"], g["attempt"], g["reason"]) for g in groups if g.get("retryAt") and g.get("reason")}


class AnyStory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = WatchedCluster(subject=deployment(groups=3, restart={"limit": 1000}))
        self.old: Object | None = None
        self.asleep: Cache | None = None

    @initialize(serving=st.booleans())
    def begin(self, serving: bool) -> None:
        self.cluster.restart()
        if serving:
            self.recover()

    @rule(times=st.integers(1, 3), news=st.sampled_from(["all", "all", "none"]))
    def operate(self, times: int, news: str) -> None:
        if news == "all":
            self.deliver_all()
        for _ in range(times):
            asyncio.run(self.cluster.operate())

    @rule(
        change=st.one_of(
            st.fixed_dictionaries({"groups": st.integers(0, 3)}),
            st.fixed_dictionaries({"suspend": st.booleans()}),
            st.fixed_dictionaries({"maxModelLen": st.integers(16, 18)}),
            st.fixed_dictionaries(
                {"runtime": st.fixed_dictionaries({"image": st.sampled_from(["serve:1", "serve:2"])})}
            ),
        )
    )
    def change(self, change: dict[str, Any]) -> None:
        self.cluster.change(**change)
        self.cluster.publish()

    @rule(
        number=st.integers(0, 5),
        how=st.sampled_from(
            [Cause.WorkerDied, Cause.EngineFailed, Cause.RankLost, Cause.GpuFault, 1, 143, "OOMKilled"]
        ),
    )
    def end_container(self, number: int, how: Cause | int | str) -> None:
        if pod := self._pod(number):
            if isinstance(how, str):
                self.cluster.end(pod["metadata"]["name"], 137, reason=how)
            else:
                self.cluster.end(pod["metadata"]["name"], how)
            self.cluster.publish()

    @rule(number=st.integers(0, 5))
    def find_no_node(self, number: int) -> None:
        """As when all other nodes are full, and one is avoided."""
        waiting = [pod for pod in self.cluster.live_pods() if not pod["spec"].get("nodeName")]
        if waiting and not any(_is_ready(pod) for pod in self.cluster.live_pods()):
            self.cluster.trouble(waiting[number % len(waiting)]["metadata"]["name"], "0/2 nodes are available")
            self.cluster.publish()

    @rule(word=st.sampled_from("ab"))
    def ask_for_retry(self, word: str) -> None:
        self.cluster.ask_for_retry(word)
        self.cluster.publish()

    @rule(number=st.integers(0, 5), reason=st.sampled_from(["EvictionByEvictionAPI", "DeletionByTaintManager", ""]))
    def disrupt(self, number: int, reason: str) -> None:
        """An eviction, a lost node, or a deletion by someone: the pod stays until its kubelet lets it go."""
        if pod := self._pod(number):
            if reason:
                told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": ""}
                pod["status"]["conditions"].append({**told, "lastTransitionTime": format_time(self.cluster.now)})
            self.cluster.remove(("Pod", pod["metadata"]["name"]))
            self.cluster.publish()

    @rule(number=st.integers(0, 5))
    def evaporate(self, number: int) -> None:
        if pod := self._pod(number):
            self.cluster.evaporate(pod["metadata"]["name"])
            self.cluster.publish()

    @rule(ready=st.booleans())
    def run_pods(self, ready: bool) -> None:
        self.cluster.start_pods()
        if ready:
            self.cluster.make_ready()
        self.cluster.publish()

    @rule(rounds=st.integers(1, 4), ready=st.booleans())
    def ordinary_life(self, rounds: int, ready: bool) -> None:
        """All do their work for a while, and the watch keeps up."""
        for _ in range(rounds):
            self.cluster.let_go()
            self.run_pods(ready)
            self.operate(1, "all")

    @rule()
    def let_go(self) -> None:
        self.cluster.let_go()
        self.cluster.publish()

    @rule(seconds=st.sampled_from([1, 6, 31, 61, 400]))
    def pass_time(self, seconds: int) -> None:
        self.cluster.advance(seconds)

    @rule(order=st.lists(st.integers(0, 40), min_size=1, max_size=8))
    def deliver(self, order: list[int]) -> None:
        """Some events, in any order, some of them twice."""
        for number in order if self.cluster.pending else ():
            self.cluster.deliver(number)

    @rule()
    def deliver_all(self) -> None:
        for number in range(len(self.cluster.pending)):
            self.cluster.deliver(number)
        self.cluster.pending.clear()

    @rule()
    def drop_events(self) -> None:
        """The watch broke off; what it missed is told by the list of the next."""
        self.cluster.pending.clear()

    @rule()
    def relist(self) -> None:
        self.cluster.sync()

    @rule()
    def restart(self) -> None:
        self.cluster.restart()

    @rule()
    def pause(self) -> None:
        """The machine of another leader stands still, its clock too."""
        self.asleep = copy.deepcopy(self.cluster.cache)

    @rule()
    def wake(self) -> None:
        """It goes on as the leader, with its picture of then, until it looks at the Lease."""
        if self.asleep is not None:
            awake, self.cluster.cache, self.asleep = self.cluster.cache, self.asleep, None
            asyncio.run(self.cluster.operate())
            self.cluster.cache = awake

    @rule(after=st.integers(0, 12), which=st.sampled_from(sorted(_FAULTS)), takes_effect=st.booleans())
    def fail_a_write(self, after: int, which: str, takes_effect: bool) -> None:
        self.cluster.fault = (after, which, takes_effect)

    @rule()
    def lose_status(self) -> None:
        self.cluster.subject.pop("status", None)
        self.old = None
        self.cluster.publish()

    @rule(keep=st.booleans())
    def stale_status(self, keep: bool) -> None:
        """As a restored backup has."""
        if keep or self.old is None:
            self.old = copy.deepcopy(self.cluster.subject.get("status", {}))
        else:
            self.cluster.subject["status"] = copy.deepcopy(self.old)
            self.cluster.publish()

    def teardown(self) -> None:
        self.cluster.fault = None
        self.cluster.change(groups=3, suspend=False)
        self.cluster.ask_for_retry("after three of the same")
        self.recover()
        assert self.cluster.condition("Ready")[0] == "True", self.cluster.subject["status"]
        assert len(self.cluster.pods) == 6
        self.cluster.writes.clear()
        for _ in range(2):
            self.cluster.advance(3600)
            asyncio.run(self.cluster.operate())
        assert self.cluster.writes == []

    def recover(self) -> None:
        """Faults have stopped: everybody does their work, and time passes."""
        for _ in range(15):
            self.cluster.sync()
            for _ in range(3):
                asyncio.run(self.cluster.operate())
            self.cluster.let_go()
            self.cluster.start_pods()
            self.cluster.make_ready()
            self.cluster.advance(600)
        self.cluster.sync()
        asyncio.run(self.cluster.operate())

    def _pod(self, number: int) -> Object | None:
        """One that a kubelet runs."""
        running = [pod for pod in self.cluster.live_pods() if pod.get("status", {}).get("phase") == "Running"]
        return running[number % len(running)] if running else None


AnyStory.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestAnyStory = AnyStory.TestCase
