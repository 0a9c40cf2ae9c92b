"""What is told of a group's long work, fetching or loading: seldom enough that watching it costs few writes."""

from datetime import datetime, timedelta

from hunyuan_operator.api.deployment import GroupProgress
from hunyuan_operator.api.times import format_time, parse_time
from hunyuan_runtime.config import Phase, RuntimeStatus

INTERVAL = timedelta(seconds=10)
"""Shortest time between two figures of the same work."""
_LONG = {Phase.FETCHING, Phase.LOADING}
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def progress_of(status: RuntimeStatus | None, before: GroupProgress | None, now: datetime) -> GroupProgress | None:
    """The new figures, or those before: while there are none or these are young, or if the new would read the same."""
    if status is None:
        return before
    if status.phase not in _LONG:
        return None
    if (told := status.progress) is None:
        return before
    finish = now + timedelta(seconds=told.remaining_seconds) if told.remaining_seconds is not None else None
    new = GroupProgress(
        done_bytes=told.done_bytes,
        total_bytes=told.total_bytes,
        estimated_finish=format_time(finish) if finish else None,
        time=format_time(now),
    )
    if before is None or before.total_bytes != new.total_bytes or before.done_bytes > new.done_bytes:
        return new
    young = now < parse_time(before.time) + INTERVAL and new.done_bytes < new.total_bytes
    return before if young or in_words(before) == in_words(new) else new


def in_words(progress: GroupProgress) -> str:
    """Such as ``12.3 of 389.5 GB, about 4 min left``."""
    size, unit = next(((size, unit) for size, unit in _UNITS if progress.total_bytes >= size), (1, "B"))
    total = f"{progress.total_bytes / size:.1f} {unit}"
    if progress.done_bytes >= progress.total_bytes:
        return f"all {total}"
    done = f"{progress.done_bytes / size:.1f} of {total}"
    if progress.estimated_finish is None:
        return done
    return f"{done}, {rounded(parse_time(progress.estimated_finish) - parse_time(progress.time))} left"


def rounded(time: timedelta) -> str:
    minutes = time / timedelta(minutes=1)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes:.0f} min" if minutes < 100 else f"about {minutes / 60:.0f} h"
