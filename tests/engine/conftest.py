"""Models that the engine tests share."""

import os
from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The tiny model, made once for a state of the sources and kept in the user's cache."""
    from hunyuan_runtime.tiny import make_tiny_model  # noqa: PLC0415 - unit tests must not pay for torch
    from hunyuan_runtime.tiny.model import made_of  # noqa: PLC0415 - likewise

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    out = cache / "hunyuan-operator/tiny" / made_of()[:16]
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_suffix(".lock")):  # tests run side by side
        return make_tiny_model(out).path
