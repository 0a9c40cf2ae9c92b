"""From measurements to a report, or to the links that are bad and the rank to blame."""

import pytest

from hunyuan_runtime.preflight.links import Limits
from hunyuan_runtime.preflight.messages import Answer, Seat
from hunyuan_runtime.preflight.verdict import Measurement, blamed, check_answers, judge, rate
from hunyuan_runtime.termination import Cause, RuntimeFailure

LIMITS = Limits(min_bits_per_second=1_000_000_000, max_latency_ms=10)
FAST, SLOW = 9_000_000_000, 5_000_000


def seats(count: int) -> list[Seat]:
    return [
        Seat(
            rank=rank, pod=f"pod-{rank}", node=f"node-{rank}", host=f"pod-{rank}.pods", pod_ip=f"10.0.0.{rank}",
            interface="eth0", address=f"10.0.0.{rank}", data_port=1,
        )
        for rank in range(count)
    ]  # fmt: skip


def measured(
    count: int, slow: dict[tuple[int, int], int] | None = None, late: dict[tuple[int, int], float] | None = None
) -> list[Measurement]:
    """All directions, by (source, target)."""
    all_seats = seats(count)
    return [
        Measurement(
            source=source,
            target=target,
            bits_per_second=(slow or {}).get((source.rank, target.rank), FAST),
            latency_ms=(late or {}).get((source.rank, target.rank), 0.1),
        )
        for source in all_seats
        for target in all_seats
        if source != target
    ]


@pytest.mark.parametrize(
    ("links", "culprit"),
    [
        pytest.param([(0, 1)], 1, id="of two, the one that doesn't lead"),
        pytest.param([(0, 2), (1, 2), (2, 3)], 2, id="the one in all of them"),
        pytest.param([(0, 1), (0, 2), (0, 3)], 0, id="the leader too"),
        pytest.param([(0, 3), (1, 2)], 3, id="of equals the highest"),
        pytest.param([(1, 1), (0, 2), (2, 0)], 2, id="who has trouble with itself counts once"),
    ],
)
def test_whom_to_blame(links: list[tuple[int, int]], culprit: int) -> None:
    assert blamed(links) == culprit


def test_a_good_network_is_reported_by_its_slowest_link() -> None:
    report = judge(measured(3, slow={(2, 1): 2_000_000_000}, late={(0, 1): 3.14159}), LIMITS, seats(3), all_reduce=FAST)
    assert report.model_dump() == {
        "interface": "eth0",
        "links": 3,
        "bits_per_second": 2_000_000_000,
        "slowest": "node-2 to node-1",
        "latency_ms": 3.142,
        "rdma": (),
        "all_reduce_bits_per_second": FAST,
    }


def test_a_slow_direction_is_told_with_both_ends_and_the_numbers() -> None:
    with pytest.raises(RuntimeFailure) as failed:
        judge(measured(2, slow={(1, 0): SLOW}), LIMITS, seats(2))
    assert (failed.value.cause, failed.value.ranks) == (Cause.NetworkSlow, (1, 0))
    assert str(failed.value) == (
        "pod-1 on node-1 (eth0, 10.0.0.1) to pod-0 on node-0 (eth0, 10.0.0.0): 5 Mbit/s arrive, less than 1 Gbit/s"
    )


def test_a_late_link_is_told_with_its_round_trip() -> None:
    with pytest.raises(RuntimeFailure, match=r"a round trip takes 12\.5 ms, more than 10 ms"):
        judge(measured(2, late={(0, 1): 12.5}), LIMITS, seats(2))


def test_a_bad_switch_does_not_fill_the_message() -> None:
    with pytest.raises(RuntimeFailure, match=r"; and 17 more$"):
        judge(measured(5, late={(a, b): 99.0 for a in range(5) for b in range(5)}), LIMITS, seats(5))


def test_a_slow_all_reduce_fails_though_every_link_is_well() -> None:
    with pytest.raises(RuntimeFailure, match="an all-reduce over all GPUs moves 5 Mbit/s, less than 1 Gbit/s"):
        judge(measured(2), LIMITS, seats(2), all_reduce=SLOW)


def test_problems_of_members_are_told_in_order_and_ranks_by_blame() -> None:
    answers = {
        0: Answer(problems={2: "port 6379 timed out"}),
        1: Answer(problems={2: "port 6379 timed out"}),
        2: Answer(),
    }
    with pytest.raises(RuntimeFailure) as failed:
        check_answers(seats(3), answers, "connect to")
    assert (failed.value.cause, failed.value.ranks) == (Cause.NetworkFailed, (2, 0, 1))
    first, second = str(failed.value).split("; ")
    assert first == (
        "pod-0 on node-0 (eth0, 10.0.0.0) can't connect to pod-2 on node-2 (eth0, 10.0.0.2): port 6379 timed out"
    )
    assert second.startswith("pod-1 on node-1")


def test_a_problem_with_itself_is_a_members_own() -> None:
    with pytest.raises(RuntimeFailure) as failed:
        check_answers(seats(2), {0: Answer(problems={0: "GPU 3: the all-reduce doesn't end"}), 1: Answer()}, "x")
    assert str(failed.value) == "pod-0 on node-0 (eth0, 10.0.0.0): GPU 3: the all-reduce doesn't end"


def test_no_problem_is_no_failure() -> None:
    check_answers(seats(2), {0: Answer(), 1: Answer()}, "find")


@pytest.mark.parametrize(
    ("bits", "text"),
    [(9.41e9, "9.41 Gbit/s"), (1e9, "1 Gbit/s"), (5e6, "5 Mbit/s"), (64_000, "64 kbit/s"), (12, "12 bit/s")],
)
def test_rates_are_readable(bits: float, text: str) -> None:
    assert rate(bits) == text
