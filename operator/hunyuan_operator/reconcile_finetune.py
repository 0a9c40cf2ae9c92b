"""One pass over one HunyuanFineTune, in the same order of writes as :mod:`hunyuan_operator.reconcile`.

What a stage left is in status before its Job may go, so that no result is ever lost with the pod that told it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.api.finetune_status import HunyuanFineTuneStatus
from hunyuan_operator.api.status import Failure
from hunyuan_operator.build.finetune import build_fine_tune
from hunyuan_operator.build.gang import group_reference
from hunyuan_operator.build.job import CONTAINER
from hunyuan_operator.build.metadata import reference
from hunyuan_operator.cluster.port import Cluster, Key
from hunyuan_operator.errors import InvalidSpec, Refused
from hunyuan_operator.execute import changes, ending, execute
from hunyuan_operator.observe.finetune import is_to_be_asked, observe_fine_tune
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.plan.finetune import FineTunePlan, plan_fine_tune
from hunyuan_operator.plan.revision import runtime_image
from hunyuan_operator.report import POLL, Result, confirm, failure_of, invalid, random_token, report
from hunyuan_operator.settings import Settings
from hunyuan_operator.status.deployment import News
from hunyuan_operator.status.events import fine_tune_events
from hunyuan_operator.status.finetune import status_of_fine_tune
from hunyuan_operator.status.problems import refused
from hunyuan_runtime.train_config import TrainPhase, TrainStatus


async def reconcile_finetune(
    key: Key, cluster: Cluster, now: datetime, settings: Settings, token: Callable[[], str] = random_token
) -> Result:
    manifest = cluster.resource(key)
    if manifest is None or "deletionTimestamp" in manifest["metadata"]:
        return Result()  # its children go with it
    try:
        fine_tune = HunyuanFineTune.parse(manifest)
        image = _image(fine_tune, settings)
    except InvalidSpec as error:
        await _report(manifest, *invalid(manifest, HunyuanFineTuneStatus, str(error), now), cluster)
        return Result()

    observed = observe_fine_tune(cluster.children(key), fine_tune.uid, fine_tune.name)
    plan = plan_fine_tune(fine_tune, observed, now)
    observed = replace(observed, told=await _ask(plan, cluster))
    news = News(failure=await _newest_failure(fine_tune, plan, cluster))

    status = fine_tune.status
    wanted = build_fine_tune(fine_tune, plan, image)
    if _must_remember(plan, status):
        after = status_of_fine_tune(fine_tune, plan, observed, news, now)
        manifest, status = await _report(manifest, status, after, cluster), after
    elif wanted.workload:
        await confirm(manifest, cluster)
    mounted = {attempt.job.config for attempt in observed.attempts if attempt.job}
    to_do = changes(observed, wanted, _endings(fine_tune, plan), mounted)
    refusal = await execute(to_do, fine_tune, cluster, token)
    if refusal:
        news = replace(news, refusal=refused(refusal))
    await _report(manifest, status, status_of_fine_tune(fine_tune, plan, observed, news, now), cluster)
    return Result(requeue_after=_look_again(plan, news, now))


def _image(fine_tune: HunyuanFineTune, settings: Settings) -> str:
    """Of the pods.

    Raises:
        InvalidSpec: neither the spec nor the operator's environment names one.

    """
    if image := runtime_image(fine_tune.spec, settings.train_image):
        return image
    raise InvalidSpec("spec.runtime.image: is empty, and the operator knows no image for fine-tunes: set trainImage")


def _asked(plan: FineTunePlan) -> Pod | None:
    """Rank 0 of the running stage, if it has anything to tell."""
    stage = plan.current
    leader = stage.leader if stage and not stage.memory.retry_at else None
    return leader if leader and is_to_be_asked(leader) else None


async def _ask(plan: FineTunePlan, cluster: Cluster) -> dict[str, TrainStatus]:
    leader = _asked(plan)
    if leader is None:
        return {}
    told = await (_of_fetch(leader, cluster) if leader.fetching else cluster.train_status(leader.ip))
    return {leader.name: told} if told else {}


async def _of_fetch(leader: Pod, cluster: Cluster) -> TrainStatus | None:
    """The init container is the same for both kinds, and answers as it does for a deployment."""
    told = await cluster.runtime_status(leader.ip)
    if told is None or told.progress is None:
        return None
    progress = told.progress
    return TrainStatus(
        phase=TrainPhase.FETCHING,
        done=progress.done_bytes,
        total=progress.total_bytes,
        remaining_seconds=progress.remaining_seconds,
    )


async def _newest_failure(fine_tune: HunyuanFineTune, plan: FineTunePlan, cluster: Cluster) -> Failure | None:
    """Stages run one after the other, so there is at most one."""
    for stage in plan.all:
        if stage.culprit:
            where = {"stage": stage.stage.value, "attempt": stage.memory.attempt}
            return await failure_of(stage.culprit, fine_tune.namespace, CONTAINER, cluster, **where)
    return None


def _endings(fine_tune: HunyuanFineTune, plan: FineTunePlan) -> Iterator[Manifest]:
    for stage in plan.all:
        for job in stage.delete_jobs:
            if gang := group_reference(job.gang, job.name, fine_tune.namespace):
                yield gang
            yield reference("Job", job.name, fine_tune.namespace, job.uid)
        for pod in stage.delete_pods:
            yield ending(fine_tune, pod, drain=stage.drain)


def _must_remember(plan: FineTunePlan, status: HunyuanFineTuneStatus) -> bool:
    """Whether the plan changed a stage's memory; what is merely observed waits until after the acting."""
    known = {stage.name: stage for stage in status.stages}
    return any(stage.memory.attempt and known.get(stage.stage) != stage.memory for stage in plan.all)


async def _report(
    manifest: Manifest, before: HunyuanFineTuneStatus, after: HunyuanFineTuneStatus, cluster: Cluster
) -> Manifest:
    return await report(manifest, before, after, fine_tune_events(before, after), cluster)


def _look_again(plan: FineTunePlan, news: News, now: datetime) -> timedelta | None:
    waits = [stage.look_again - now for stage in plan.all if stage.look_again]
    if _asked(plan):
        waits.append(POLL)
    if news.refusal:
        waits.append(Refused.ask_again)
    return min(waits, default=None)
