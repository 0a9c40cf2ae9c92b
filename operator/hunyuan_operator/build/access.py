"""Who the pods are, and the token by which the ranks of a deployment know each other."""

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.build.metadata import Object, metadata, with_hash
from hunyuan_runtime.config import RAY_TOKEN_PATH


def service_account(deployment: HunyuanDeployment) -> Object:
    """Of the pods' own, so that they hold none of the rights that someone gave to ``default``; and without a token."""
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(deployment, deployment.name),
            "automountServiceAccountToken": False,
        }
    )


def token_secret(deployment: HunyuanDeployment, token: str) -> Object:
    """Created once. The operator never reads it back, and may not."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(deployment, names.token_secret_name(deployment.name)),
        "type": "Opaque",
        "immutable": True,
        "stringData": {RAY_TOKEN_PATH.name: token},
    }
