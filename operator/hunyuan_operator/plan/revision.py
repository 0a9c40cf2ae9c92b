"""One short hash for all that the pods of a group, or of a fine-tune's stage, are built from.

It is taken from what people set, not from the finished pods: a newer operator that builds pods in another way leaves
running groups alone, and only a change of the spec or of the default image replaces them. Fields at their default are
left out, so that a field that a newer operator adds changes nothing either.

A training is worth more than a default: a fine-tune's stage goes on with the default image with which it began, and a
field that only other stages read leaves it alone.
"""

import hashlib
import json
from typing import TypeVar

from pydantic import JsonValue

from hunyuan_operator.api.deployment import HunyuanDeploymentSpec
from hunyuan_operator.api.finetune import HunyuanFineTuneSpec
from hunyuan_operator.api.workload import Disruption
from hunyuan_runtime.train_config import Stage

_NOT_OF_PODS = {"groups", "restart", "suspend"}
_NOT_OF_STAGES = {"restart", "suspend", "ttl_after_finished"}
_READ_BY = {
    "nodes": {Stage.TRAIN},
    "gpus_per_node": {Stage.TRAIN, Stage.EVALUATE},
    "checkpoints": {Stage.TRAIN},
    "network": {Stage.TRAIN},
    "after": {Stage.MERGE, Stage.QUANTIZE},
}
"""Fields that some stages alone depend on."""


def runtime_image(spec: HunyuanDeploymentSpec | HunyuanFineTuneSpec, default: str) -> str:
    return spec.runtime.image or default


def revision_of(spec: HunyuanDeploymentSpec, default_image: str, digest: str = "") -> str:
    """``digest`` is of a model whose folder alone doesn't tell which one it is."""
    pods = _lasting(spec).model_dump(mode="json", exclude_defaults=True, exclude=_NOT_OF_PODS)
    return _hash([pods, runtime_image(spec, default_image), *([digest] if digest else [])])


def stage_revision(spec: HunyuanFineTuneSpec, stage: Stage) -> str:
    unread = {field for field, readers in _READ_BY.items() if stage not in readers}
    return _hash(_lasting(spec).model_dump(mode="json", exclude_defaults=True, exclude=_NOT_OF_STAGES | unread))


_Spec = TypeVar("_Spec", HunyuanDeploymentSpec, HunyuanFineTuneSpec)


def _lasting(spec: _Spec) -> _Spec:
    """Without what may change while pods run on."""
    scheduling = spec.scheduling.model_copy(update={"disruption": Disruption()})
    return spec.model_copy(update={"scheduling": scheduling})


def _hash(content: JsonValue) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
