"""What Pod Security "restricted" asks of every pod and container, and how a container tells of its end."""

from hunyuan_operator.build.metadata import Object
from hunyuan_runtime.config import TERMINATION_LOG

USER = 10001
"""User and group of the runtime image."""


def pod_confinement() -> Object:
    """Fields that every pod has. None starts a container anew: an attempt that fails is over."""
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",  # a checkpoint is too large to change owner file by file
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def confinement() -> Object:
    """Fields that every container has, whatever it runs."""
    return {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": str(TERMINATION_LOG),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
