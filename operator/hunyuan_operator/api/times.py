"""How the API writes points in time and durations as text."""

import re
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(r"(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?", re.ASCII)


def format_time(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as ``metav1.Time``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Read RFC 3339, with or without a fraction of a second.

    Raises:
        ValueError: the text is something else.

    """
    return datetime.fromisoformat(text)


def parse_duration(text: str) -> timedelta:
    """Read whole hours, minutes and seconds, such as ``90s`` or ``1h30m``.

    Raises:
        ValueError: the text is something else.

    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration such as 90s or 1h30m")
    return timedelta(**{unit: int(amount) for unit, amount in match.groupdict(default="0").items()})
