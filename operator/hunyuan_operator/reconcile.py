"""One pass over one HunyuanDeployment: gather once, decide purely, write what differs.

The order of writes makes a crash between any two of them harmless:

1. the memory of attempts and failures goes into status before it is acted on, so that a cause is never lost with the
   pods that showed it, and an attempt is never forgotten;
2. :mod:`hunyuan_operator.execute` makes what the plan asks for;
3. status tells how that went.

Nothing is written when nothing has changed.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from hunyuan_operator.api.deployment import Failure, HunyuanDeployment, HunyuanDeploymentStatus
from hunyuan_operator.api.times import format_time
from hunyuan_operator.build.deployment import build
from hunyuan_operator.build.pod import CONTAINER
from hunyuan_operator.cluster.port import Cluster, Key
from hunyuan_operator.errors import InvalidSpec, Refused
from hunyuan_operator.execute import changes, execute, reference
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_operator.observe.world import Observed, leaders_to_ask, observe
from hunyuan_operator.plan.deployment import DeploymentPlan, plan_deployment
from hunyuan_operator.settings import Settings
from hunyuan_operator.status.deployment import News, as_manifest, status_of, status_of_invalid
from hunyuan_operator.status.events import events
from hunyuan_operator.status.problems import refused
from hunyuan_runtime.config import RuntimeStatus

LOG_LINES = 20
_LOG_CHARACTERS = 4000
POLL = timedelta(seconds=3)
"""How often leaders on their way to serving are asked how far they are."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """``requeue_after`` is None when only a change can matter."""

    requeue_after: timedelta | None = None


def random_token() -> str:
    return secrets.token_hex(32)


async def reconcile(
    key: Key, cluster: Cluster, now: datetime, settings: Settings, token: Callable[[], str] = random_token
) -> Result:
    manifest = cluster.resource(key)
    if manifest is None or "deletionTimestamp" in manifest["metadata"]:
        return Result()  # its children go with it
    try:
        deployment = HunyuanDeployment.parse(manifest)
    except InvalidSpec as error:
        return await _report_invalid(manifest, str(error), cluster, now)

    observed = observe(cluster.children(key), deployment.uid)
    observed = replace(observed, runtime=await _ask(observed, cluster))
    plan = plan_deployment(deployment, observed, settings.runtime_image, now)
    news = News(failure=await _newest_failure(deployment, plan, cluster))

    status = deployment.status
    if _must_remember(plan, status):
        status = await _report(manifest, status, status_of(deployment, plan, observed, news, now), cluster)
    wanted = build(deployment, plan, settings.runtime_image)
    refusal = await execute(changes(deployment, plan, observed, wanted), deployment, cluster, token)
    if refusal:
        news = replace(news, refusal=refused(refusal))
    await _report(manifest, status, status_of(deployment, plan, observed, news, now), cluster)
    return Result(requeue_after=_look_again(plan, observed, news, now))


async def _ask(observed: Observed, cluster: Cluster) -> dict[str, RuntimeStatus]:
    leaders = leaders_to_ask(observed)
    answers = await asyncio.gather(*(cluster.runtime_status(leader.ip) for leader in leaders))
    return {leader.name: answer for leader, answer in zip(leaders, answers, strict=True) if answer}


async def _newest_failure(deployment: HunyuanDeployment, plan: DeploymentPlan, cluster: Cluster) -> Failure | None:
    """With the container's last words, which go with the pod."""
    fallen = [(group.culprit, group.memory) for group in plan.groups if group.culprit]
    if not fallen:
        return None
    culprit, memory = max(fallen, key=lambda one: one[0].end.time)
    end, log = culprit.end, ""
    if teller := culprit.teller:
        pod = reference("Pod", teller.name, deployment.namespace, teller.uid)
        log = await cluster.log_tail(pod, end.container or CONTAINER, LOG_LINES)
    return Failure(
        time=format_time(end.time),
        group=memory.index,
        attempt=memory.attempt,
        pod=culprit.pod,
        container=end.container,
        node=culprit.node,
        exit_code=end.exit_code,
        reason=end.reason,
        message=end.message,
        retryable=end.retryable,
        log=log[-_LOG_CHARACTERS:],
    )


def _must_remember(plan: DeploymentPlan, status: HunyuanDeploymentStatus) -> bool:
    """Whether the plan changed a group's memory; what is merely observed waits until after the acting."""
    known = {group.index: group for group in status.group_statuses}
    return any(known.get(group.memory.index) != group.memory for group in plan.groups)


async def _report(
    manifest: Manifest, before: HunyuanDeploymentStatus, after: HunyuanDeploymentStatus, cluster: Cluster
) -> HunyuanDeploymentStatus:
    if after != before:
        await cluster.patch_status(manifest, as_manifest(after))
        for event in events(before, after):
            await cluster.emit(manifest, event)
    return after


async def _report_invalid(manifest: Manifest, message: str, cluster: Cluster, now: datetime) -> Result:
    try:
        before = HunyuanDeploymentStatus.model_validate(manifest.get("status", {}))
    except ValidationError:
        before = HunyuanDeploymentStatus()
    after = status_of_invalid(before, message, int(manifest["metadata"]["generation"]), now)
    await _report(manifest, before, after, cluster)
    return Result()


def _look_again(plan: DeploymentPlan, observed: Observed, news: News, now: datetime) -> timedelta | None:
    waits = [group.look_again - now for group in plan.groups if group.look_again]
    if leaders_to_ask(observed):
        waits.append(POLL)
    if news.refusal:
        waits.append(Refused.ask_again)
    return min(waits, default=None)
