"""The status of an object that can't be understood."""

from datetime import datetime
from typing import TypeVar

from hunyuan_operator.api.deployment import HunyuanDeploymentStatus
from hunyuan_operator.api.finetune_status import HunyuanFineTuneStatus
from hunyuan_operator.api.reasons import ConditionType, Reason
from hunyuan_operator.status.conditions import Verdicts, conditions
from hunyuan_operator.status.verdict import Verdict, no

Status = TypeVar("Status", HunyuanDeploymentStatus, HunyuanFineTuneStatus)


def status_of_invalid(before: Status, message: str, generation: int, now: datetime) -> Status:
    """It keeps what it said before about its pods: they run on, untouched."""
    told = Verdict(status="True", reason=Reason.INVALID_SPEC.value, message=message)
    told_before = {one.type: one for one in before.conditions}
    kept: Verdicts = {
        kind: Verdict(status=one.status, reason=one.reason, message=one.message)
        for kind in ConditionType
        if kind is not ConditionType.RECONCILING and (one := told_before.get(kind.value))
    }
    told_now: Verdicts = {
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
