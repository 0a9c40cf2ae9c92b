"""Who fetches: one at a time, and someone else when that one stands still."""

from pathlib import Path

import pytest

from hunyuan_runtime.fetch.lock import Lock, LockLost


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def locks(tmp_path: Path, clock: Clock) -> tuple[Lock, Lock]:
    first, second = (Lock(path=tmp_path / "lock", holder=name, stale=60, clock=clock) for name in ("one", "two"))
    return first, second


def test_the_first_has_it_until_it_lets_go(locks: tuple[Lock, Lock]) -> None:
    first, second = locks
    assert (first.take(), second.take()) == (True, False)
    second.release()
    assert not second.take()
    first.release()
    assert second.take()


def test_a_holder_that_starts_anew_still_has_it(locks: tuple[Lock, Lock]) -> None:
    first, _ = locks
    assert first.take()
    assert Lock(path=first.path, holder="one").take()


def test_who_waits_reads_the_holders_progress(locks: tuple[Lock, Lock]) -> None:
    first, second = locks
    assert second.progress() is None
    first.take()
    first.beat(30, 100)
    assert second.progress() == (30, 100)


def test_a_holder_that_beats_keeps_it_however_long_it_takes(locks: tuple[Lock, Lock], clock: Clock) -> None:
    first, second = locks
    first.take()
    for _ in range(10):
        assert not second.take()
        clock.now += 50
        first.beat(0, 100)


def test_a_holder_that_stands_still_loses_it_and_learns_so(locks: tuple[Lock, Lock], clock: Clock) -> None:
    first, second = locks
    first.take()
    assert not second.take()
    clock.now += 60
    assert second.take()
    with pytest.raises(LockLost):
        first.beat(0, 100)
    first.release()
    second.beat(0, 100)


def test_a_lock_that_was_never_written_to_its_end_is_stale_in_time(locks: tuple[Lock, Lock], clock: Clock) -> None:
    first, _ = locks
    first.path.touch()
    assert not first.take()
    clock.now += 60
    assert first.take()
