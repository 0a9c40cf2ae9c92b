"""One pass over one HunyuanDeployment: gather once, decide purely, write what differs.

The order of writes makes a crash between any two of them harmless:

1. the memory of attempts and failures goes into status before it is acted on, so that a cause is never lost with the
   pods that showed it, and an attempt is never forgotten. The API server takes it only from a pass that knows the last
   one, so that nothing is begun on an old picture;
2. :mod:`hunyuan_operator.execute` makes what the plan asks for;
3. status tells how that went.

Nothing is written when nothing has changed.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import Failure, HunyuanDeployment, HunyuanDeploymentStatus
from hunyuan_operator.build.deployment import build
from hunyuan_operator.build.gang import group_reference
from hunyuan_operator.build.metadata import Object, adopted
from hunyuan_operator.build.pod import CONTAINER
from hunyuan_operator.cluster.port import Cluster, Key
from hunyuan_operator.errors import InvalidSpec, Refused
from hunyuan_operator.execute import changes, ending, execute
from hunyuan_operator.observe.manifest import Manifest
from hunyuan_operator.observe.world import Observed, leaders_to_ask, observe
from hunyuan_operator.plan.deployment import DeploymentPlan, plan_deployment
from hunyuan_operator.report import POLL, Result, confirm, failure_of, invalid, random_token, report
from hunyuan_operator.settings import Settings
from hunyuan_operator.status.deployment import News, status_of
from hunyuan_operator.status.events import events
from hunyuan_operator.status.problems import refused
from hunyuan_runtime.config import RuntimeStatus


async def reconcile(
    key: Key, cluster: Cluster, now: datetime, settings: Settings, token: Callable[[], str] = random_token
) -> Result:
    manifest = cluster.resource(key)
    if manifest is None or "deletionTimestamp" in manifest["metadata"]:
        return Result()  # its children go with it
    try:
        deployment = HunyuanDeployment.parse(manifest)
    except InvalidSpec as error:
        await _report(manifest, *invalid(manifest, HunyuanDeploymentStatus, str(error), now), cluster)
        return Result()

    observed = observe(cluster.children(key), deployment.uid)
    observed = replace(observed, runtime=await _ask(observed, cluster), fine_tune=_fine_tune(deployment, cluster))
    plan = plan_deployment(deployment, observed, settings.runtime_image, now)
    news = News(failure=await _newest_failure(deployment, plan, cluster))

    status = deployment.status
    wanted = build(deployment, plan, settings.runtime_image)
    if _must_remember(plan, status):
        after = status_of(deployment, plan, observed, news, now)
        manifest, status = await _report(manifest, status, after, cluster), after
    elif wanted.workload or any(pod.orphan for pod in observed.pods):
        await confirm(manifest, cluster)
    to_do = changes(observed, wanted, _endings(deployment, plan), {pod.config for pod in observed.pods})
    to_do = replace(to_do, apply=(*_adoptions(deployment, observed, plan), *to_do.apply))
    refusal = await execute(to_do, deployment, cluster, token)
    if refusal:
        news = replace(news, refusal=refused(refusal))
    await _report(manifest, status, status_of(deployment, plan, observed, news, now), cluster)
    return Result(requeue_after=_look_again(plan, observed, news, now))


def _fine_tune(deployment: HunyuanDeployment, cluster: Cluster) -> Manifest | None:
    source = deployment.spec.model.fine_tune
    return cluster.resource(Key(names.FINE_TUNE_KIND, deployment.namespace, source.name)) if source else None


async def _ask(observed: Observed, cluster: Cluster) -> dict[str, RuntimeStatus]:
    leaders = leaders_to_ask(observed)
    answers = await asyncio.gather(*(cluster.runtime_status(leader.ip) for leader in leaders))
    return {leader.name: answer for leader, answer in zip(leaders, answers, strict=True) if answer}


async def _newest_failure(deployment: HunyuanDeployment, plan: DeploymentPlan, cluster: Cluster) -> Failure | None:
    fallen = [(group.culprit, group.memory) for group in plan.groups if group.culprit]
    if not fallen:
        return None
    culprit, memory = max(fallen, key=lambda one: one[0].end.time)
    where = {"group": memory.index, "attempt": memory.attempt}
    return await failure_of(culprit, deployment.namespace, CONTAINER, cluster, **where)


def _endings(deployment: HunyuanDeployment, plan: DeploymentPlan) -> Iterator[Manifest]:
    """A gang goes with its pods: were it deleted later, nothing would tell any more that it was there."""
    for group in plan.groups:
        for attempt, provider in {(pod.attempt, pod.gang) for pod in group.delete if pod.gang}:
            name = names.gang_name(deployment.name, group.memory.index, attempt)
            if gang := group_reference(provider, name, deployment.namespace):
                yield gang
        for pod in group.delete:
            yield ending(deployment, pod, drain=group.drain)


def _adoptions(deployment: HunyuanDeployment, observed: Observed, plan: DeploymentPlan) -> tuple[Object, ...]:
    """Of pods that an earlier deployment of that name left, unless they are to go."""
    going = {pod.uid for group in plan.groups for pod in group.delete}
    return tuple(adopted(deployment, pod.name, pod.uid) for pod in observed.pods if pod.orphan and pod.uid not in going)


def _must_remember(plan: DeploymentPlan, status: HunyuanDeploymentStatus) -> bool:
    """Whether the plan changed a group's memory; what is merely observed waits until after the acting."""
    known = {group.index: group for group in status.group_statuses}
    return any(known.get(group.memory.index) != group.memory for group in plan.groups)


async def _report(
    manifest: Manifest, before: HunyuanDeploymentStatus, after: HunyuanDeploymentStatus, cluster: Cluster
) -> Manifest:
    return await report(manifest, before, after, events(before, after), cluster)


def _look_again(plan: DeploymentPlan, observed: Observed, news: News, now: datetime) -> timedelta | None:
    waits = [group.look_again - now for group in plan.groups if group.look_again]
    if leaders_to_ask(observed):
        waits.append(POLL)
    if news.refusal:
        waits.append(Refused.ask_again)
    return min(waits, default=None)
