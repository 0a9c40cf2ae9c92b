"""What this package's programs have in common, each being process 1 of a container: options, what it is told, its end.

A program ends with 0, with the code and message of a :class:`~hunyuan_runtime.termination.Cause`, or with
:data:`STOPPED` and no message after SIGTERM, since nothing failed then.
"""

import argparse
import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hunyuan_runtime.config import CONFIG_PATH, TERMINATION_LOG, Rank
from hunyuan_runtime.termination import Cause, RuntimeFailure

STOPPED = 128 + 15

Config = TypeVar("Config", bound=BaseModel)


def argument_parser(module: str, purpose: str | None) -> argparse.ArgumentParser:
    """With the two options that all have."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=purpose)
    parser.add_argument("--config", type=Path, default=Path(CONFIG_PATH), help="the group's, as JSON (%(default)s)")
    parser.add_argument("--termination-log", type=Path, default=Path(TERMINATION_LOG), help="(%(default)s)")
    return parser


def rank_index() -> int:
    """For last words, which must be possible where the environment can't be used."""
    index = os.environ.get("HUNYUAN_RANK", "")
    return int(index) if index.isdecimal() else 0


def read_rank() -> Rank:
    """Which rank this process is.

    Raises:
        RuntimeFailure: ``ConfigInvalid``.

    """
    try:
        return Rank.from_env(os.environ)
    except KeyError as missing:
        raise RuntimeFailure(Cause.ConfigInvalid, f"the environment lacks {missing}") from missing
    except ValueError as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"the environment: {error}") from error


def read_config(path: Path, model: type[Config]) -> Config:
    """The file at ``path`` as ``model``.

    Raises:
        RuntimeFailure: ``ConfigInvalid``.

    """
    try:
        return model.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"{path}: {error}") from error
