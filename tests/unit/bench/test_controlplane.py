"""The bench of the control plane: what it makes of what it measured, and that both sides write the same objects."""

from dataclasses import replace
from typing import Any

import controlplane
import pytest
from control_objects import Times, deployment, objects_of
from controlplane import Result, table

RESULT = Result(
    deployments=100,
    total=30.0,
    floor_total=24.0,
    last_pod_p50=0.5,
    last_pod_p99=2.25,
    requests={"PATCH": 2.0, "POST": 8.0},
    cpu=1.5,
    rss=120.0,
    idle_core_percent=0.25,
    idle_writes=0,
    restart=4.0,
    restart_cpu=2.0,
    heal=6.5,
)


def test_a_wait_lasts_from_the_resource_to_the_last_of_its_pods() -> None:
    times = Times(created={"a": 10.0, "b": 11.0}, pods={"b": [12.0, 15.0], "a": [10.5, 11.0]})
    assert times.waits == [1.0, 4.0]
    assert times.total == 5.0
    assert controlplane._of_times(times) == {"total": 5.0, "last_pod_p50": 2.5, "last_pod_p99": pytest.approx(6.91)}


def test_requests_are_told_by_method_and_only_those_since_the_beginning() -> None:
    name = 'hunyuan_operator_api_requests_total{code="%d",method="%s"}'
    before = {name % (200, "PATCH"): 7.0}
    after = {name % (200, "PATCH"): 27.0, name % (409, "PATCH"): 10.0, name % (201, "POST"): 80.0}
    assert controlplane._by_method(after, before, 10) == {"PATCH": 3.0, "POST": 8.0}
    assert controlplane._by_method(before, before, 10) == {}


def test_a_table_has_a_line_for_each_size_and_the_ratio_to_the_floor() -> None:
    head, small, large = table([RESULT, replace(RESULT, deployments=1000, total=240.0)]).splitlines()
    assert head.split()[:2] == ["resources", "total"]
    assert " ".join(small.split()) == "100 30.0 24.0 1.25 0.50 2.25 15.0 120 0.25 0 4.0 6.5 PATCH 2, POST 8"
    assert large.split()[:4] == ["1000", "240.0", "24.0", "10.00"]


def test_the_floors_objects_are_those_that_the_operator_makes() -> None:
    stored: dict[str, Any] = deployment(7)
    stored["metadata"] |= {"uid": "uid-7", "generation": 1}
    made = objects_of(stored)
    assert sorted(one["kind"] for one in made) == [
        "ConfigMap", "Pod", "Pod", "Secret", "Service", "Service", "ServiceAccount",
    ]  # fmt: skip
    owners = {(owner["uid"], owner["controller"]) for one in made for owner in one["metadata"]["ownerReferences"]}
    assert owners == {("uid-7", True)}
    assert [one["metadata"]["name"] for one in made if one["kind"] == "Pod"] == ["hyd-00007-g0-1-0", "hyd-00007-g0-1-1"]


def test_deployments_differ_in_their_names_alone() -> None:
    one, other = deployment(1), deployment(2)
    assert one.pop("metadata")["name"] != other.pop("metadata")["name"]
    assert one == other
