"""Waiting for something that another process does."""

import time
from collections.abc import Callable


def wait_until(what: str, check: Callable[[], bool], *, timeout: float, state: Callable[[], str] = lambda: "") -> None:
    """Poll ``check`` until it holds.

    Raises:
        TimeoutError: with ``what`` and the last ``state()``.
    """
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s: {what}\n{state()}".rstrip())
        time.sleep(0.2)
