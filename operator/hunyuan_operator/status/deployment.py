"""The whole status of a HunyuanDeployment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import Failure, HunyuanDeployment, HunyuanDeploymentStatus, PlanStatus
from hunyuan_operator.api.reasons import ConditionType, Reason
from hunyuan_operator.observe.world import Observed
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.status.conditions import conditions, verdicts
from hunyuan_operator.status.groups import group_status
from hunyuan_operator.status.milestones import MILESTONES
from hunyuan_operator.status.problems import problems
from hunyuan_operator.status.verdict import Problem, Verdict, no
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


def status_of_invalid(
    before: HunyuanDeploymentStatus, message: str, generation: int, now: datetime
) -> HunyuanDeploymentStatus:
    """An object that can't be understood keeps what it said before about its groups: they run on, untouched."""
    told = Verdict(status="True", reason=Reason.INVALID_SPEC.value, message=message)
    told_before = {one.type: one for one in before.conditions}
    kept = {
        kind: Verdict(status=one.status, reason=one.reason, message=one.message)
        for kind in (ConditionType.READY, ConditionType.NETWORK_VERIFIED, *MILESTONES)
        if (one := told_before.get(kind.value))
    }
    told_now = {
        ConditionType.READY: no(Reason.INVALID_SPEC, message),
        **kept,
        ConditionType.PROGRESSING: no(Reason.INVALID_SPEC, message),
        ConditionType.DEGRADED: told,
        ConditionType.STALLED: told,
    }
    return before.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions(told_now, before.conditions, generation, now),
        }
    )


def as_manifest(status: HunyuanDeploymentStatus) -> dict[str, Any]:
    """As the API shows it: what is empty is left out, except a condition's message, which metav1.Condition requires."""
    dump = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    dump["groupStatuses"] = [_without_empty(group) for group in dump["groupStatuses"]]
    if "lastFailure" in dump:
        dump["lastFailure"] = _without_empty(dump["lastFailure"])
    return dump


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", [])}


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
