"""Where a deployment's model lies when its spec names a fine-tune: in the folder that the fine-tune's status names.

Its digest tells one result from the next, so that groups are replaced whenever another one is complete. Until there is
a result, or when there is none any more, nothing is started, and what runs is left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hunyuan_operator.api.deployment import HunyuanDeploymentSpec
from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.api.sources import PvcSource
from hunyuan_operator.errors import FineTuneNotFound, FineTuneNotReady, InvalidSpec


@dataclass(frozen=True, kw_only=True)
class Source:
    """``spec`` names a model that pods can mount; ``digest`` is empty unless a fine-tune made it."""

    spec: HunyuanDeploymentSpec
    digest: str = ""


def source_of(spec: HunyuanDeploymentSpec, fine_tune: Mapping[str, Any] | None) -> Source:
    """``fine_tune`` is the manifest of the one that ``spec`` names, if it is there.

    Raises:
        Unplannable: there is no result.

    """
    if spec.model.fine_tune is None:
        return Source(spec=spec)
    name = f"HunyuanFineTune {spec.model.fine_tune.name}"
    if fine_tune is None:
        raise FineTuneNotFound(f"there is no {name} in this namespace")
    try:
        tuned = HunyuanFineTune.parse(fine_tune)
    except InvalidSpec as error:
        raise FineTuneNotReady(f"{name} can't be understood: {error}") from error
    result = tuned.status.result
    if result is None:
        raise FineTuneNotReady(f"{name} has no result yet: {_progress(tuned)}")
    folder = PvcSource(claim_name=result.claim_name, path=result.path)
    architecture = spec.model.architecture or tuned.spec.model.architecture
    model = spec.model.model_copy(update={"fine_tune": None, "pvc": folder, "architecture": architecture})
    return Source(spec=spec.model_copy(update={"model": model}), digest=result.digest)


def _progress(tuned: HunyuanFineTune) -> str:
    status = tuned.status
    if not status.state:
        return "it has not begun"
    return f"stage {status.stage}: {status.state}" if status.stage else status.state
