"""Who the pods are, and the token by which the ranks of a group or a training know each other."""

from hunyuan_operator.api.resource import Resource
from hunyuan_operator.build.metadata import Object, metadata, with_hash
from hunyuan_runtime.config import RAY_TOKEN_PATH


def service_account(owner: Resource, name: str) -> Object:
    """Of the pods' own, so that they hold none of the rights that someone gave to ``default``; and without a token."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(owner, name),
            "automountServiceAccountToken": False,
        }
    )


def token_secret(owner: Resource, name: str, token: str) -> Object:
    """Created once. The operator never reads it back, and may not."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(owner, name),
        "type": "Opaque",
        "immutable": True,
        "stringData": {RAY_TOKEN_PATH.name: token},
    }
