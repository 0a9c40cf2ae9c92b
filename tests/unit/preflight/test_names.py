"""Names of ranks: found, missing, wrong, or not to be asked for."""

import socket
from collections.abc import Callable

import pytest

from hunyuan_runtime.config import Rank
from hunyuan_runtime.preflight.names import peer_of, problem_of, problems_of_names
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from tests.unit.preflight.test_verdict import seats


def dns(records: dict[str, list[str]], error: int = socket.EAI_NONAME) -> Callable[[str], list[str]]:
    def resolve(host: str) -> list[str]:
        if host not in records:
            raise socket.gaierror(error, "Temporary failure in name resolution")
        return records[host]

    return resolve


@pytest.mark.parametrize(
    ("resolve", "problem"),
    [
        pytest.param(dns({"a.pods": ["10.0.0.1"]}), "", id="found"),
        pytest.param(dns({"a.pods": ["fd00::1", "10.0.0.1"]}), "", id="in both families"),
        pytest.param(dns({}), "no DNS record for a.pods", id="missing"),
        pytest.param(
            dns({}, socket.EAI_AGAIN), "DNS for a.pods: Temporary failure in name resolution", id="server silent"
        ),
        pytest.param(dns({"a.pods": ["10.9.9.9"]}), "DNS says a.pods is 10.9.9.9, but it is 10.0.0.1", id="wrong"),
    ],
)
def test_one_name(resolve: Callable[[str], list[str]], problem: str) -> None:
    assert problem_of("a.pods", "10.0.0.1", resolve) == problem


def test_records_may_come_a_little_late() -> None:
    records: dict[str, list[str]] = {"pod-0.pods": ["10.0.0.0"]}
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        if len(asked) > 4:
            records["pod-1.pods"] = ["10.0.0.1"]
        return dns(records)(host)

    assert problems_of_names(seats(2), patience=10, resolve=resolve) == {}
    assert asked.count("pod-1.pods") == 3


def test_patience_ends() -> None:
    found = problems_of_names(seats(2), patience=0, resolve=dns({"pod-0.pods": ["10.0.0.0"]}))
    assert found == {1: "no DNS record for pod-1.pods"}


def test_the_leader_is_the_peer_of_the_others() -> None:
    worker = Rank(index=1, leader="a.pods", pod_ip="10.0.0.2")
    assert peer_of(worker, dns({"a.pods": ["10.0.0.1"]})) == "10.0.0.1"
    assert peer_of(worker, dns({})) == ""
    assert peer_of(worker.model_copy(update={"index": 0}), dns({})) == ""


def test_whom_a_failure_is_about_reaches_the_operator() -> None:
    failure = RuntimeFailure(Cause.NetworkFailed, "cut", ranks=(2, 0))
    message = TerminationMessage.parse(TerminationMessage.of(failure, rank=0).model_dump_json())
    assert message is not None
    assert (message.reason, message.ranks, message.retryable) == ("NetworkFailed", (2, 0), True)
