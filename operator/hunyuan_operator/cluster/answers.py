"""What an API server's answer means, as an error of :mod:`hunyuan_operator.errors`. Pure."""

import json
from collections.abc import Callable
from typing import Any

from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.errors import ClusterError, Conflict, Refused, Unavailable


class NotFound(Conflict):
    """The object, or the place to put it, is not there: our picture is old.

    Of a kind that it doesn't serve the API server names no object in ``details``, or answers like any web server.
    """

    def __init__(self, message: str, *, served: bool = True) -> None:
        super().__init__(message)
        self.served = served


def error_of(code: int, body: bytes, retry_after: str = "") -> ClusterError:
    """The error for an HTTP status of 400 and above; ``body`` is usually a ``metav1.Status``."""
    status = _status(body)
    message = str(status.get("message") or body[:500].decode(errors="replace") or f"HTTP {code}")
    if code in (404, 410):
        return NotFound(message, served=bool(status.get("details")))
    if code == 409 or _namespace_ends(status):
        return Conflict(message)
    if code in (401, 408, 429) or code >= 500:
        wait = retry_after or str(status.get("details", {}).get("retryAfterSeconds", ""))
        return Unavailable(message, float(wait) if wait.isdecimal() else 0.0)
    return Refused(_refusal(code, message), message)


def _status(body: bytes) -> dict[str, Any]:
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def _namespace_ends(status: dict[str, Any]) -> bool:
    """Nothing can be created in a namespace that is being deleted; soon the deployment is gone, too."""
    causes = status.get("details", {}).get("causes", [])
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


_REFUSALS: tuple[tuple[Reason, Callable[[int, str], bool]], ...] = (
    (Reason.QUOTA_EXCEEDED, lambda code, text: code == 403 and ("exceeded quota:" in text or "failed quota:" in text)),
    # Authorization answers before admission, and in words of its own.
    (Reason.FORBIDDEN, lambda code, text: code == 403 and 'User "' in text and " cannot " in text),
    (Reason.ADMISSION_REFUSED, lambda code, text: code == 403 or "admission webhook" in text),
    (Reason.ADMISSION_REFUSED, lambda _, text: "ValidatingAdmissionPolicy" in text),
)


def _refusal(code: int, message: str) -> Reason:
    return next((reason for reason, applies in _REFUSALS if applies(code, message)), Reason.POD_INVALID)
