"""One pass over one stage as a table: what is remembered and seen → what is done, and what is remembered then."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hunyuan_operator.api.finetune_status import StageStatus
from hunyuan_operator.api.workload import Restart
from hunyuan_operator.observe.end import End
from hunyuan_operator.observe.finetune import Attempt, Job
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.observe.pod import Stage as PodStage
from hunyuan_operator.plan.stages import StageOrder, plan_stage

from hunyuan_runtime.termination import Cause
from hunyuan_runtime.train_config import Stage, StageReport

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
EARLIER = "2026-11-24T11:40:00Z"
JUST_NOW, SOON = "2026-11-24T11:59:50Z", "2026-11-24T12:00:10Z"
ORDER = StageOrder(fine_tune="car", stage=Stage.TRAIN, wanted=True, revision="r", nodes=2, restart=Restart())
REPORT = StageReport(stage=Stage.TRAIN, message="200 steps")

NEW = StageStatus(name="train")
BEGUN = StageStatus(name="train", attempt=1, revision="r")
RUNNING = BEGUN.model_copy(update={"started_at": JUST_NOW})
FAILED = RUNNING.model_copy(update={"retry_at": SOON, "reason": "WorkerDied", "failures": [JUST_NOW]})
READY_AGAIN = FAILED.model_copy(update={"retry_at": JUST_NOW})
HOPELESS = READY_AGAIN.model_copy(update={"reason": "LossNotFinite", "retryable": False})
STOPPED = RUNNING.model_copy(update={"retry_at": JUST_NOW})
DONE = RUNNING.model_copy(update={"finished_at": JUST_NOW})


def pod(rank: int, attempt: int = 1, **seen: object) -> Pod:
    base = Pod(
        name=f"p{rank}", uid=f"u{rank}", attempt=attempt, rank=rank, nodes=2, revision="r", stage=PodStage.RUNNING
    )
    return replace(base, node=f"n{rank}", **seen)  # type: ignore[arg-type]  # fields are given by name


def end(reason: str, seconds_ago: float, code: int | None = 1) -> End:
    return End(time=NOON - timedelta(seconds=seconds_ago), reason=reason, message="", exit_code=code)


def attempt(*pods: Pod, number: int = 1, job: bool = True, **of_job: object) -> Attempt:
    made = Job(name=f"car-train-{number}", uid=f"j{number}", nodes=2, revision="r")
    seen = replace(made, **of_job) if job else None  # type: ignore[arg-type]  # likewise
    return Attempt(stage=Stage.TRAIN, number=number, job=seen, pods=pods)


LONG_AGO = NOON - timedelta(minutes=1)
WHOLE = (pod(0), pod(1))
LEAVING = pod(1, deadline=NOON - timedelta(seconds=29))
OVERDUE = pod(1, deadline=NOON - timedelta(seconds=31))
RANK_DIED = (pod(0), pod(1, end=end("WorkerDied", 3)))
DELETED = end("PodDeleted", 3, code=None)
WITH_DELETED = (pod(0, end=DELETED), pod(1, end=end("WorkerDied", 3)))
SUCCEEDED = (pod(0, succeeded=True, report=REPORT), pod(1, succeeded=True))


@dataclass(frozen=True, kw_only=True)
class Then:
    """``delete`` counts Jobs and pods."""

    attempt: int
    state: str = "lasts"
    create: bool = False
    delete: tuple[int, int] = (0, 0)
    reason: str = ""
    failures: int = 0


def state(memory: StageStatus) -> str:
    return "done" if memory.finished_at else "ended" if memory.retry_at else "lasts"


SUSPENDED = replace(ORDER, wanted=False)
OTHER = replace(ORDER, revision="s")

CASES = {
    "it begins": (NEW, (), ORDER, Then(attempt=1, create=True)),
    "it isn't wanted yet": (NEW, (), SUSPENDED, Then(attempt=0)),
    "its Job is still to be made": (BEGUN, (), ORDER, Then(attempt=1, create=True)),
    "its Job is there": (BEGUN, (attempt(),), ORDER, Then(attempt=1)),
    "all runs": (RUNNING, (attempt(*WHOLE),), ORDER, Then(attempt=1)),
    "a rank died": (
        RUNNING,
        (attempt(*RANK_DIED),),
        ORDER,
        Then(attempt=1, state="ended", delete=(1, 2), reason="WorkerDied", failures=1),
    ),
    "a rank died, and Kubernetes deleted another for it": (
        RUNNING,
        (attempt(*WITH_DELETED),),
        ORDER,
        Then(attempt=1, state="ended", delete=(1, 2), reason="WorkerDied", failures=1),
    ),
    "a pod was deleted, which Kubernetes may have done for a failure that isn't seen yet": (
        RUNNING,
        (attempt(pod(0, end=DELETED), pod(1)),),
        ORDER,
        Then(attempt=1),
    ),
    "a pod was deleted, and no other failed": (
        RUNNING,
        (attempt(pod(0, end=replace(DELETED, time=NOON - timedelta(seconds=5))), pod(1)),),
        ORDER,
        Then(attempt=1, state="ended", delete=(1, 2), reason="PodDeleted"),
    ),
    "a rank that lost another has to wait for that one's word": (
        RUNNING,
        (attempt(pod(0, end=end(Cause.RankLost.name, 3)), pod(1)),),
        ORDER,
        Then(attempt=1),
    ),
    "but not for ever": (
        RUNNING,
        (attempt(pod(0, end=end(Cause.RankLost.name, 6)), pod(1)),),
        ORDER,
        Then(attempt=1, state="ended", delete=(1, 2), reason="RankLost", failures=1),
    ),
    "its Job is gone": (
        RUNNING,
        (),
        ORDER,
        Then(attempt=1, state="ended", reason="PodDeleted"),
    ),
    "its Job failed, and its pods' ends aren't seen yet": (
        RUNNING,
        (attempt(*WHOLE, failed=True, ended=NOON),),
        ORDER,
        Then(attempt=1),
    ),
    "its Job is done, and its report isn't seen yet": (
        RUNNING,
        (attempt(*WHOLE, complete=True, ended=NOON),),
        ORDER,
        Then(attempt=1),
    ),
    "its Job is done, and there is no report": (
        RUNNING,
        (attempt(pod(0, succeeded=True), pod(1, succeeded=True), complete=True, ended=LONG_AGO),),
        ORDER,
        Then(attempt=1, state="ended", delete=(1, 2), reason="Exited", failures=1),
    ),
    "its Job failed with all its pods gone": (
        RUNNING,
        (attempt(failed=True, ended=LONG_AGO),),
        ORDER,
        Then(attempt=1, state="ended", delete=(1, 0), reason="PodDeleted"),
    ),
    "it is suspended": (RUNNING, (attempt(*WHOLE),), SUSPENDED, Then(attempt=1, state="ended", delete=(1, 2))),
    "its spec changed": (RUNNING, (attempt(*WHOLE),), OTHER, Then(attempt=1, state="ended", delete=(1, 2))),
    "one rank is done before the other": (RUNNING, (attempt(pod(0), SUCCEEDED[1]),), ORDER, Then(attempt=1)),
    "it is done": (RUNNING, (attempt(*SUCCEEDED, complete=True),), ORDER, Then(attempt=1, state="done")),
    "it is done while it is suspended": (
        RUNNING,
        (attempt(*SUCCEEDED, complete=True),),
        SUSPENDED,
        Then(attempt=1, state="done"),
    ),
    "it is done under another spec": (
        RUNNING,
        (attempt(*SUCCEEDED, complete=True),),
        OTHER,
        Then(attempt=1, state="done"),
    ),
    "it was done and never runs again": (DONE, (), OTHER, Then(attempt=1, state="done")),
    "the back-off isn't over": (
        FAILED,
        (),
        ORDER,
        Then(attempt=1, state="ended", reason="WorkerDied", failures=1),
    ),
    "the back-off is over": (READY_AGAIN, (), ORDER, Then(attempt=2, create=True, failures=1)),
    "an old pod is still there": (
        READY_AGAIN,
        (attempt(LEAVING, job=False),),
        ORDER,
        Then(attempt=1, state="ended", reason="WorkerDied", failures=1),
    ),
    "an old pod is on a lost node": (
        READY_AGAIN,
        (attempt(OVERDUE, job=False),),
        ORDER,
        Then(attempt=2, create=True, failures=1),
    ),
    "an old pod is on a lost node, whose rank was missed before that was known": (
        READY_AGAIN.model_copy(update={"reason": "RankUnreachable", "failures": [EARLIER, JUST_NOW]}),
        (attempt(OVERDUE, job=False),),
        ORDER,
        Then(attempt=2, create=True, failures=1),
    ),
    "the back-off isn't over, and the rank that was missed was on a lost node": (
        FAILED.model_copy(update={"reason": "RankLost"}),
        (attempt(OVERDUE, job=False),),
        ORDER,
        Then(attempt=1, state="ended", reason="NodeLost"),
    ),
    "no retry can help": (
        HOPELESS,
        (),
        ORDER,
        Then(attempt=1, state="ended", reason="LossNotFinite", failures=1),
    ),
    "no retry can help, and it is suspended": (HOPELESS, (), SUSPENDED, Then(attempt=1, state="ended")),
    "the spec that no retry could help changed": (HOPELESS, (), OTHER, Then(attempt=2, create=True)),
    "it resumes": (STOPPED, (), ORDER, Then(attempt=2, create=True)),
    "its memory is lost": (NEW, (attempt(pod(0, 3), pod(1, 3), number=3),), ORDER, Then(attempt=3)),
    "an earlier attempt's leftovers go": (
        RUNNING.model_copy(update={"attempt": 2}),
        (attempt(pod(0)), attempt(pod(0, 2), pod(1, 2), number=2)),
        ORDER,
        Then(attempt=2, delete=(1, 1)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_pass(case: str) -> None:
    memory, attempts, order, then = CASES[case]
    plan = plan_stage(memory, attempts, order, NOON)
    assert then == Then(
        attempt=plan.memory.attempt,
        state=state(plan.memory),
        create=plan.create,
        delete=(len(plan.delete_jobs), len(plan.delete_pods)),
        reason=plan.memory.reason,
        failures=len(plan.memory.failures),
    )


@pytest.mark.parametrize("case", CASES)
def test_a_second_pass_at_the_same_moment_changes_no_memory(case: str) -> None:
    memory, attempts, order, _ = CASES[case]
    once = plan_stage(memory, attempts, order, NOON).memory
    assert plan_stage(once, attempts, order, NOON).memory == once


@pytest.mark.parametrize(
    ("after", "gone"), [(timedelta(minutes=59), (0, 0)), (timedelta(hours=1), (1, 2))], ids=["within", "over"]
)
def test_a_job_that_is_done_is_kept_for_its_time(after: timedelta, gone: tuple[int, int]) -> None:
    order = replace(ORDER, keep=timedelta(hours=1))
    done = DONE.model_copy(update={"finished_at": "2026-11-24T12:00:00Z"})
    plan = plan_stage(done, (attempt(*SUCCEEDED, complete=True),), order, NOON + after)
    assert (len(plan.delete_jobs), len(plan.delete_pods)) == gone


def test_pods_that_may_save_keep_their_time_and_others_lose_what_is_left_of_it() -> None:
    late = pod(1, deadline=NOON + timedelta(seconds=290), end=DELETED)
    told = attempt(pod(0), late)
    suspended = plan_stage(RUNNING, (told,), SUSPENDED, NOON)
    assert (suspended.drain, [one.rank for one in suspended.delete_pods]) == (True, [0])
    died = plan_stage(RUNNING, (attempt(RANK_DIED[1], replace(late, rank=0)),), ORDER, NOON)
    assert (died.drain, [one.rank for one in died.delete_pods]) == (False, [1, 0])
