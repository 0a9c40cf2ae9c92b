"""Points in time and durations as the API writes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hunyuan_operator.api.times import format_time, parse_duration, parse_time
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("2h0m1s", 7201), ("0s", 0)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "1.5h", "-1s", "1s1m", " 1s", "1s\n", "١s"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.floats(min_value=0, max_value=4e9))
def test_a_point_in_time_survives_in_whole_seconds(timestamp: float) -> None:
    moment = datetime.fromtimestamp(timestamp, UTC)
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


def test_times_are_written_in_utc_and_read_with_fractions() -> None:
    moment = datetime(2026, 11, 5, 12, 0, 0, tzinfo=timezone(timedelta(hours=8)))
    assert format_time(moment) == "2026-11-05T04:00:00Z"
    assert parse_time("2026-11-05T04:00:00.250000Z") == moment + timedelta(milliseconds=250)
