"""The time that is left, from the pace of the last two minutes."""

from hunyuan_runtime.pace import WINDOW, Pace


def test_one_look_tells_no_pace() -> None:
    assert Pace().progress(10, 100, now=5).remaining_seconds is None


def test_what_is_left_at_the_pace_so_far() -> None:
    pace = Pace()
    pace.progress(100, 1000, now=0)
    assert pace.progress(200, 1000, now=10).remaining_seconds == 80


def test_an_old_pace_is_forgotten() -> None:
    pace = Pace()
    pace.progress(0, 10_000, now=0)
    pace.progress(5000, 10_000, now=1)  # from a page cache
    for second in range(10, int(2 * WINDOW), 10):
        last = pace.progress(5000 + second, 10_000, now=second)
    assert last.remaining_seconds == 10_000 - 5000 - second


def test_who_stands_still_says_nothing_of_the_end() -> None:
    pace = Pace()
    pace.progress(100, 1000, now=0)
    assert pace.progress(100, 1000, now=10).remaining_seconds is None
