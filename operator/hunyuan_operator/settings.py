"""What the operator is told by its environment; the chart sets every variable named here."""

from collections.abc import Mapping
from dataclasses import dataclass

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``watch_namespaces`` empty means the whole cluster."""

    runtime_image: str
    """``HUNYUAN_RUNTIME_IMAGE``: image of pods whose spec names none."""
    namespace: str
    """``POD_NAMESPACE``: where the Lease is."""
    identity: str
    """``POD_NAME``: holder of the Lease, and instance that reports Events."""
    train_image: str = ""
    """``HUNYUAN_TRAIN_IMAGE``: image of a fine-tune's pods, unless its spec names one."""
    watch_namespaces: tuple[str, ...] = ()
    """``WATCH_NAMESPACES``: separated by commas."""
    workers: int = 4
    """``WORKERS``: deployments that are reconciled at the same time."""
    lease_duration: int = 10
    """``LEASE_DURATION``: seconds for which a leader's Lease counts since its last renewal was seen."""
    log_level: str = "INFO"
    """``LOG_LEVEL``."""
    log_format: str = "text"
    """``LOG_FORMAT``: ``text`` or ``json``, one line a record."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read the variables; an empty one counts as unset.

        Raises:
            ValueError: a variable is missing or can't be understood; the message names it.

        """
        return cls(
            runtime_image=_required(env, "HUNYUAN_RUNTIME_IMAGE"),
            train_image=env.get("HUNYUAN_TRAIN_IMAGE", "").strip(),
            namespace=_required(env, "POD_NAMESPACE"),
            identity=_required(env, "POD_NAME"),
            watch_namespaces=tuple(name.strip() for name in env.get("WATCH_NAMESPACES", "").split(",") if name.strip()),
            workers=_positive(env, "WORKERS", cls.workers),
            lease_duration=_positive(env, "LEASE_DURATION", cls.lease_duration),
            log_level=_one_of(env, "LOG_LEVEL", LOG_LEVELS, cls.log_level),
            log_format=_one_of(env, "LOG_FORMAT", LOG_FORMATS, cls.log_format),
        )


def _required(env: Mapping[str, str], name: str) -> str:
    if value := env.get(name, "").strip():
        return value
    raise ValueError(f"{name} is not set")


def _positive(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{name} is {text!r}, and must be a positive number")
    return int(text)


def _one_of(env: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    text = env.get(name, "").strip() or default
    for choice in choices:
        if text.lower() == choice.lower():
            return choice
    raise ValueError(f"{name} is {text!r}, and must be one of {', '.join(choices)}")
