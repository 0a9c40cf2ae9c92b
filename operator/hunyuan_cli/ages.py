"""Spans of time as kubectl writes them."""

from datetime import datetime, timedelta

from hunyuan_operator.api.times import parse_time


def duration(time: timedelta) -> str:
    """Such as ``45s``, ``2m30s``, ``3h20m``, ``5d4h``: the two greatest units are enough."""
    left = max(int(time.total_seconds()), 0)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts.append((count, unit))
    first = next((number for number, (count, _) in enumerate(parts) if count), 3)
    return "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"


def ago(moment: str, now: datetime) -> str:
    return duration(now - parse_time(moment))
