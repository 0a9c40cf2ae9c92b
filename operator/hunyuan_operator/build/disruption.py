"""The PodDisruptionBudget of a group, or of a training: to evict one pod is to end them all."""

from hunyuan_operator.api.resource import Resource
from hunyuan_operator.build.metadata import Object, metadata, selector, with_hash


def disruption_budget(owner: Resource, name: str, members: dict[str, str], nodes: int) -> Object:
    """``members`` are the labels that tell its pods from the owner's others.

    A whole number, because a percentage is one of what the pods' controller counts, and a HunyuanDeployment's scale
    counts groups. A pod that isn't ready may always go: a group that never starts must not hold up a drain.
    """
    return with_hash(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(owner, name),
            "spec": {
                "minAvailable": nodes,
                "selector": {"matchLabels": selector(owner) | members},
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        }
    )
