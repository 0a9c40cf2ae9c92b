"""What to do with one stage of a fine-tune.

As a group (:mod:`hunyuan_operator.plan.groups`), a stage is told by its memory alone:

1. **ended** (``retry_at`` is set, or there never was an attempt): what is left of the attempt is deleted; when it is
   gone and the time has come, the next attempt begins;
2. **beginning**: the attempt's Job is created;
3. **started** (``started_at`` is set: the Job has been seen): the end of any of its pods ends the attempt, and so does
   the Job's;
4. **finished** (``finished_at`` is set): its report is in status, and it never runs again.

An attempt is one Job without retries, so Kubernetes too ends all its pods when one fails, even while no operator runs.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hunyuan_operator.api import names
from hunyuan_operator.api.finetune_status import StageStatus
from hunyuan_operator.api.reasons import FailureReason
from hunyuan_operator.api.times import format_time, parse_time
from hunyuan_operator.api.workload import Restart
from hunyuan_operator.observe.end import TOLD_TO_END, End
from hunyuan_operator.observe.finetune import Attempt, Job
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.observe.pod import Stage as PodStage
from hunyuan_operator.plan.cause import GRACE, Casualty, casualty_of, located, root_cause
from hunyuan_operator.plan.leaving import awaited, is_to_go, longest_wait
from hunyuan_operator.plan.nodes import NODE_FAULTS, avoiding, avoiding_culprit, avoiding_none, gives_up_avoiding
from hunyuan_operator.plan.restarts import (
    DISRUPTIONS,
    begin,
    cleared,
    earliest_start,
    end_by_failure,
    end_by_intent,
    forgiven,
    is_own_fault,
    may_still_work,
)
from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage, StageReport

_MISSED = frozenset({Cause.RankLost.name, Cause.RankUnreachable.name})
"""By which ranks tell of one that went without a word."""


@dataclass(frozen=True, kw_only=True)
class StageOrder:
    """What is asked of a stage. ``keep`` is how long a Job that is done stays; None is for ever."""

    fine_tune: str
    stage: Stage
    wanted: bool
    revision: str
    nodes: int
    restart: Restart
    retry: str = ""
    """The annotation by which people ask for another try."""
    checkpoint: int | None = None
    """Step of the newest one that is known."""
    keep: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """``memory`` is what to write into status before anything else; ``pods`` are those of its attempt."""

    stage: Stage
    memory: StageStatus
    wanted: bool
    revision: str
    nodes: int
    pods: tuple[Pod, ...] = ()
    create: bool = False
    delete_jobs: tuple[Job, ...] = ()
    delete_pods: tuple[Pod, ...] = ()
    drain: bool = True
    """Whether the pods that are deleted may still save."""
    culprit: Casualty | None = None
    report: StageReport | None = None
    """Of a stage that is done, as long as its pod is there."""
    look_again: datetime | None = None

    @property
    def finished(self) -> bool:
        return bool(self.memory.finished_at)

    @property
    def leader(self) -> Pod | None:
        return next((pod for pod in self.pods if pod.rank == 0), None)


def plan_stage(memory: StageStatus, attempts: tuple[Attempt, ...], order: StageOrder, now: datetime) -> StagePlan:
    memory = forgiven(_recall(memory, attempts), order.retry, now)
    if memory.finished_at:
        return _keep(memory, attempts, order, now)
    if memory.retry_at or not memory.attempt:
        return _follow_up(memory, attempts, order, now)
    return _watch_over(memory, attempts, order, now)


def _recall(memory: StageStatus, attempts: tuple[Attempt, ...]) -> StageStatus:
    """A status that was lost or is behind: the labels of the newest Job, or of its pods, then tell the attempt."""
    newest = max(attempts, key=lambda attempt: attempt.number, default=None)
    if newest is None or newest.number <= memory.attempt:
        return memory
    revision = newest.job.revision if newest.job else newest.pods[0].revision
    return memory.blank().model_copy(update={"attempt": newest.number, "revision": revision})


def _watch_over(memory: StageStatus, attempts: tuple[Attempt, ...], order: StageOrder, now: datetime) -> StagePlan:
    current = _current(memory, attempts, order)
    if current.job and current.job.complete and _report_of(current):
        return _finish(memory, current, attempts, order, now)
    if not order.wanted:
        return _end(end_by_intent(memory, now), attempts, order, now)
    verdict = _verdict(memory, current, order, now)
    if isinstance(verdict, Casualty):
        verdict = replace(verdict, end=located(verdict.end, current.pods))
        return replace(_end(_failed(memory, verdict, current, order, now), attempts, order, now), culprit=verdict)
    if memory.revision != order.revision:
        return _end(end_by_intent(memory, now), attempts, order, now)
    give_up = gives_up_avoiding(memory, current.pods)
    if give_up and now >= give_up:
        return _end(end_by_intent(avoiding_none(memory), now), attempts, order, now)
    if current.job and not memory.started_at:
        memory = memory.model_copy(update={"started_at": format_time(now)})
    older = tuple(attempt for attempt in attempts if attempt is not current)
    return replace(
        _remove(memory, older, order, now),
        pods=current.pods,
        create=current.job is None and not memory.started_at,
        look_again=verdict or give_up,
    )


def _follow_up(memory: StageStatus, attempts: tuple[Attempt, ...], order: StageOrder, now: datetime) -> StagePlan:
    old = awaited((pod for attempt in attempts for pod in attempt.pods), now)
    if old or any(attempt.job for attempt in attempts):
        return replace(_end(memory, attempts, order, now), look_again=longest_wait(old))
    if not order.wanted:
        return _plan(_at_rest(memory, now), order)
    memory = _uncounted(memory, attempts)
    if memory.attempt and memory.revision == order.revision:
        start = earliest_start(memory, order.restart, now)
        if start is None or now < start:
            return replace(_plan(memory, order), look_again=start)
    # Pods that outlive their deletion are on a lost node.
    memory = avoiding(memory, (pod.node for one in attempts for pod in one.pods), FailureReason.NODE_LOST, now)
    memory = begin(memory, order.revision, now).model_copy(update={"resumed_from": order.checkpoint})
    return replace(_plan(memory, order), create=True)


def _failed(memory: StageStatus, culprit: Casualty, current: Attempt, order: StageOrder, now: datetime) -> StageStatus:
    if order.checkpoint is not None and order.checkpoint > (memory.resumed_from or 0):
        memory = cleared(memory)
    counts = culprit.end.exit_code != TOLD_TO_END and is_own_fault(culprit.end, whole=_whole(current))
    return end_by_failure(avoiding_culprit(memory, culprit, now), culprit.end, order.restart, now, counts=counts)


def _uncounted(memory: StageStatus, attempts: tuple[Attempt, ...]) -> StageStatus:
    """A pod that outlives its deletion is on a lost node: that others missed its rank before was nobody's fault."""
    if memory.reason not in _MISSED or not any(attempt.pods for attempt in attempts):
        return memory
    repeated = memory.repeated if memory.reason in NODE_FAULTS else memory.repeated[:-1]
    undone = {"failures": memory.failures[:-1], "repeated": repeated}
    return memory.model_copy(update={"reason": FailureReason.NODE_LOST.value, **undone})


def _at_rest(memory: StageStatus, now: datetime) -> StageStatus:
    """Failures of a stage that nobody wants now say nothing about later; only its attempts' names stay taken."""
    if not memory.reason and not memory.failures:
        return memory
    kept = {"attempt": memory.attempt, "revision": memory.revision, "retry_at": format_time(now)}
    return memory.blank().model_copy(update=kept)


def _keep(memory: StageStatus, attempts: tuple[Attempt, ...], order: StageOrder, now: datetime) -> StagePlan:
    """What is left of a stage that is done goes when its time is over; that of earlier attempts at once."""
    expiry = parse_time(memory.finished_at) + order.keep if order.keep is not None else None
    expired = expiry is not None and now >= expiry
    current = _current(memory, attempts, order)
    going = attempts if expired else tuple(attempt for attempt in attempts if attempt is not current)
    left = bool(current.job or current.pods) and not expired
    return replace(
        _remove(memory, going, order, now),
        pods=current.pods,
        report=_report_of(current),
        look_again=expiry if left else None,
    )


def _finish(
    memory: StageStatus, current: Attempt, attempts: tuple[Attempt, ...], order: StageOrder, now: datetime
) -> StagePlan:
    report = _report_of(current)
    done = {
        "started_at": memory.started_at or format_time(now),
        "finished_at": format_time(now),
        "report": report.message if report else "",
        "nodes": [pod.node for pod in current.pods],
    }
    return _keep(memory.model_copy(update=done), attempts, order, now)


def _report_of(attempt: Attempt) -> StageReport | None:
    return attempt.leader.report if attempt.leader else None


def _end(memory: StageStatus, attempts: tuple[Attempt, ...], order: StageOrder, now: datetime) -> StagePlan:
    return replace(_remove(memory, attempts, order, now), pods=_current(memory, attempts, order).pods)


def _remove(memory: StageStatus, attempts: tuple[Attempt, ...], order: StageOrder, now: datetime) -> StagePlan:
    """The Jobs before their pods, so that none is made anew."""
    drain = may_still_work(memory)
    return replace(
        _plan(memory, order),
        drain=drain,
        delete_jobs=tuple(one.job for one in attempts if one.job and not one.job.terminating),
        delete_pods=tuple(pod for one in attempts for pod in one.pods if is_to_go(pod, now, drain=drain)),
    )


def _plan(memory: StageStatus, order: StageOrder) -> StagePlan:
    return StagePlan(stage=order.stage, memory=memory, wanted=order.wanted, revision=order.revision, nodes=order.nodes)


def _current(memory: StageStatus, attempts: tuple[Attempt, ...], order: StageOrder) -> Attempt:
    found = (attempt for attempt in attempts if attempt.number == memory.attempt)
    return next(found, Attempt(stage=order.stage, number=memory.attempt))


def _whole(current: Attempt) -> bool:
    """Whether every rank of the attempt has come to run, be it that it ended since."""
    running = all(pod.end or pod.stage.value >= PodStage.PREPARING.value for pod in current.pods)
    return current.job is not None and len(current.pods) == current.job.nodes and running


def _verdict(memory: StageStatus, current: Attempt, order: StageOrder, now: datetime) -> Casualty | datetime | None:
    """As :func:`root_cause`. What a Job or a deletion tells is believed once a pod's own end would be known, too.

    Jobs and pods are watched apart, and Kubernetes deletes an attempt's other pods as soon as one has failed.
    """
    survivors = any(pod.end is None for pod in current.pods)
    verdict = root_cause(_fallen(current), survivors=survivors, now=now)
    if verdict is None and (end := _end_of_job(order, memory, current, now)):
        verdict = Casualty(rank=0, pod=f"{_job_name(order, memory)}-0", end=end)
        late = end.time + GRACE if current.job and current.job.ended else now
    elif isinstance(verdict, Casualty) and verdict.end.reason == FailureReason.POD_DELETED:
        late = verdict.end.time + GRACE
    else:
        return verdict
    return late if now < late else verdict


def _fallen(current: Attempt) -> list[Casualty]:
    """Without pods that Kubernetes deleted because another had failed, and those that saved because another goes."""
    ended = [(pod, pod.end) for pod in current.pods if pod.end and not pod.succeeded]
    failures = [end.time for _, end in ended if end.exit_code not in (None, TOLD_TO_END)]
    first = min(failures, default=None)
    fallen = [
        casualty_of(pod, end, current.pods)
        for pod, end in ended
        if first is None or end.reason != FailureReason.POD_DELETED or end.time < first
    ]
    disturbed = any(one.end.reason in DISRUPTIONS for one in fallen)
    return [one for one in fallen if not (disturbed and one.end.exit_code == TOLD_TO_END)]


def _end_of_job(order: StageOrder, memory: StageStatus, current: Attempt, now: datetime) -> End | None:
    """What the Job itself tells, where no pod does."""
    job, name = current.job, _job_name(order, memory)
    gone, failed = FailureReason.POD_DELETED, FailureReason.EXITED
    if job is None:
        told = (gone, f"Job {name} is gone, not by the operator") if memory.started_at else None
    elif job.terminating:
        told = (gone, f"Job {name} was deleted, not by the operator")
    elif job.complete and current.leader is None:
        told = (gone, f"Job {name} is done, but its pod is gone, and its report with it")
    elif job.complete:
        told = (failed, f"Job {name} is done, but left no report that can be read")
    elif job.failed and len(current.pods) < job.nodes:
        told = (gone, f"a pod of Job {name} was deleted, not by the operator: {job.message}")
    elif job.failed:
        told = (failed, f"Job {name} failed: {job.message}")
    else:
        told = None
    if told is None:
        return None
    return End(time=job.ended if job and job.ended else now, reason=told[0], message=told[1])


def _job_name(order: StageOrder, memory: StageStatus) -> str:
    return names.job_name(order.fine_tune, order.stage, memory.attempt)
