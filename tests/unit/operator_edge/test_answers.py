"""What the API server's answers mean. The messages are those of real API servers."""

import json
from typing import Any

import pytest
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.cluster.answers import NotFound, error_of
from hunyuan_operator.errors import ClusterError, Conflict, Refused, Unavailable


def status(message: str, **details: Any) -> bytes:
    return json.dumps({"kind": "Status", "status": "Failure", "message": message, "details": details}).encode()


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (403, 'pods "a" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0',
         Reason.QUOTA_EXCEEDED),
        (403, 'pods "a" is forbidden: failed quota: q: must specify limits.cpu for: runtime', Reason.QUOTA_EXCEEDED),
        (403, 'pods is forbidden: User "system:serviceaccount:s:o" cannot create resource "pods" in API group "" in '
         'the namespace "demo"', Reason.FORBIDDEN),
        (403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
         Reason.ADMISSION_REFUSED),
        (403, 'pods "a" is forbidden: maximum memory usage per Container is 1Gi, but limit is 4Gi',
         Reason.ADMISSION_REFUSED),
        (403, 'pods "a" is forbidden: no PriorityClass with name vip was found', Reason.ADMISSION_REFUSED),
        (400, 'admission webhook "policy.example.org" denied the request: no', Reason.ADMISSION_REFUSED),
        (422, 'pods "a" is forbidden: ValidatingAdmissionPolicy \'p\' with binding \'b\' denied request: no',
         Reason.ADMISSION_REFUSED),
        (422, 'Pod "a" is invalid: spec.containers[0].image: Required value', Reason.POD_INVALID),
        (400, "strict decoding error: unknown field", Reason.POD_INVALID),
    ],
)  # fmt: skip
def test_a_refusal_has_a_reason_and_the_servers_own_words(code: int, message: str, expected: Reason) -> None:
    error = error_of(code, status(message))
    assert isinstance(error, Refused)
    assert error.reason is expected
    assert str(error) == message


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        pytest.param(409, status('pods "a" already exists'), Conflict, id="the name is taken"),
        pytest.param(409, status("the object has been modified"), Conflict, id="another wrote"),
        pytest.param(404, status('pods "a" not found'), NotFound, id="gone"),
        pytest.param(410, status("The provided continue parameter is too old"), NotFound, id="expired"),
        pytest.param(403, status("unable to create new content in namespace demo because it is being terminated",
                                 causes=[{"reason": "NamespaceTerminating"}]), Conflict, id="namespace ends"),
        pytest.param(401, status("Unauthorized"), Unavailable, id="token refused"),
        pytest.param(429, status("too many requests"), Unavailable, id="throttled"),
        pytest.param(500, status("failed calling webhook"), Unavailable, id="a webhook is down"),
        pytest.param(503, b"<html>no backend</html>", Unavailable, id="a proxy answers, not in JSON"),
        pytest.param(504, b"[]", Unavailable, id="JSON of another shape"),
    ],
)  # fmt: skip
def test_other_failures_say_whether_a_retry_helps(code: int, body: bytes, expected: type[ClusterError]) -> None:
    assert type(error_of(code, body)) is expected


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        ("7", status("later"), 7.0),
        ("", status("later", retryAfterSeconds=5), 5.0),
        ("", status("later"), 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", status("later"), 0.0),
    ],
)
def test_the_wait_that_the_server_asks_for_is_kept(header: str, body: bytes, expected: float) -> None:
    error = error_of(429, body, header)
    assert isinstance(error, Unavailable)
    assert error.retry_after == expected


def test_an_answer_without_words_still_says_something() -> None:
    assert str(error_of(502, b"")) == "HTTP 502"
