"""The whole status of a HunyuanDeployment."""

from dataclasses import dataclass
from datetime import datetime

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import Failure, HunyuanDeployment, HunyuanDeploymentStatus, PlanStatus
from hunyuan_operator.observe.world import Observed
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.status.conditions import conditions, verdicts
from hunyuan_operator.status.groups import group_status
from hunyuan_operator.status.problems import problems
from hunyuan_operator.status.verdict import Problem
from hunyuan_runtime.config import Port


@dataclass(frozen=True, kw_only=True)
class News:
    """What came out of acting, beside the plan: the newest failure, and what the API server refused."""

    failure: Failure | None = None
    refusal: Problem | None = None


def status_of(
    deployment: HunyuanDeployment, plan: DeploymentPlan, observed: Observed, news: News, now: datetime
) -> HunyuanDeploymentStatus:
    before = deployment.status
    found = problems(deployment, plan, news.refusal, now)
    groups = [group_status(group, deployment, plan, observed, now) for group in plan.groups]
    told = verdicts(deployment, plan, observed, groups, found)
    return HunyuanDeploymentStatus(
        observed_generation=deployment.generation,
        groups=len(groups),
        ready_groups=sum(group.ready for group in groups),
        selector=f"{names.DEPLOYMENT}={deployment.name},{names.ROLE}=leader",
        url=f"http://{deployment.name}.{deployment.namespace}.svc:{Port.API.value}/v1",
        conditions=conditions(told, before.conditions, deployment.generation, now),
        group_statuses=groups,
        plan=_plan_status(plan),
        last_failure=news.failure or before.last_failure,
    )


def _plan_status(plan: DeploymentPlan) -> PlanStatus | None:
    if plan.serving is None:
        return None
    topology, memory = plan.serving.topology, plan.serving.memory
    return PlanStatus(
        nodes=topology.nodes,
        tensor_parallel=topology.tensor_parallel,
        pipeline_parallel=topology.pipeline_parallel,
        weight_bytes_per_gpu=memory.weights,
        kv_cache_bytes_per_gpu=memory.kv_cache,
        kv_cache_tokens=memory.kv_tokens,
        max_concurrency=int(memory.max_concurrency),
    )
