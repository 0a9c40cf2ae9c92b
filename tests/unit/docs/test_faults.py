"""``docs/faults.md`` is complete and up to date: every way to fail has its row, every row its test."""

import re

import pytest
from hunyuan_operator.api.reasons import FailureReason, Reason

from hunyuan_runtime.termination import Cause
from tests import stack
from tests.e2e.fault_list import Fault
from tests.e2e.matrix import PAGE, SECTIONS, measured, page

FAULTS = [fault for faults in SECTIONS.values() for fault in faults]
OBSTACLES = {
    Reason.IMAGE_PULL_FAILED,
    Reason.CONTAINER_CONFIG_ERROR,
    Reason.UNSCHEDULABLE,
    Reason.QUOTA_EXCEEDED,
    Reason.ADMISSION_REFUSED,
    Reason.FORBIDDEN,
    Reason.POD_INVALID,
    Reason.REPEATED_FAILURE,
    Reason.RESTART_LIMIT_REACHED,
}
"""Reasons of conditions for which pods don't run, though nothing is wrong with the spec."""


def test_the_tables_are_those_that_the_list_makes() -> None:
    assert PAGE.read_text() == page(PAGE.read_text(), measured()), "run: python -m tests.e2e.matrix"


def test_every_way_to_fail_has_a_row() -> None:
    ways = {*FailureReason, *OBSTACLES, *(cause.name for cause in Cause if cause.retryable)}
    told = {word for fault in FAULTS for word in re.findall(r"`(\w+)`", fault.status)}
    assert sorted(set(map(str, ways)) - told) == []


def test_what_was_measured_is_of_a_row_and_has_its_reason() -> None:
    rows = {fault.key: fault for fault in FAULTS}
    assert len(rows) == len(FAULTS)
    for key, found in measured().items():
        assert found.get("reason", "") in rows[key].status


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.key)
def test_every_row_has_a_test_that_exists(fault: Fault) -> None:
    path, _, name = fault.test.partition(" ")
    assert re.search(rf"def {name}", (stack.ROOT / "tests" / path).read_text())
