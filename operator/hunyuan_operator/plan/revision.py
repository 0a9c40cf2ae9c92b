"""One short hash for all that the pods of a group are built from.

It is taken from what people set, not from the finished pods: a newer operator that builds pods in another way leaves
running groups alone, and only a change of the spec or of the default image replaces them. Fields at their default are
left out, so that a field that a newer operator adds changes nothing either.
"""

import hashlib
import json

from hunyuan_operator.api.deployment import HunyuanDeploymentSpec

_NOT_OF_PODS = {"groups", "restart", "suspend"}


def runtime_image(spec: HunyuanDeploymentSpec, default: str) -> str:
    return spec.runtime.image or default


def revision_of(spec: HunyuanDeploymentSpec, default_image: str) -> str:
    pods = spec.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_OF_PODS)
    text = json.dumps([pods, runtime_image(spec, default_image)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
