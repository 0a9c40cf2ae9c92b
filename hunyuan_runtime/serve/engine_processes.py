"""The processes of an engine with a single rank. vLLM starts them itself, so Ray can't tell that one has died.

With several ranks each is an actor of Ray, which alone knows the one that died from those that ended because of it.
"""

from collections.abc import Callable, Iterable

import psutil

from hunyuan_runtime.processes import descendants, lives, name_of

_TITLE = "VLLM::"
"""How the names begin that vLLM gives to its processes: EngineCore and, on a CPU, the Worker that it has there."""


class EngineProcesses:
    """Those that ran when the engine had loaded: it starts none later, and ends none while it lives."""

    def __init__(self, processes: Callable[[], Iterable[psutil.Process]] = descendants) -> None:
        self._processes = processes
        self._known: dict[psutil.Process, str] = {}

    def watch(self) -> None:
        names = ((process, name_of(process)) for process in self._processes())
        self._known = {process: name for process, name in names if name.startswith(_TITLE)}

    def dead(self) -> dict[int, str]:
        """Names of those that have ended, by process id."""
        return {process.pid: name for process, name in self._known.items() if not lives(process)}
