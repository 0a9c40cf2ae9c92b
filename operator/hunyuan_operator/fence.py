"""The kernel ends this process when its lease does, whatever the process is doing or isn't.

A leader that was frozen (SIGSTOP, a cgroup's freezer) between a look at the clock and a write would send the write when
it goes on, though another leads by then; so would one whose event loop stood still. No check in Python closes that gap.
The kernel's timer does: it runs on while the process is stopped, and its signal is handled before the process's next
instruction, by a function of the C library that ends it.

A machine whose clock stands still with it, such as a virtual one that its host pauses, notices nothing. Against what it
sends then there are names and versions: docs/architecture.md, "Two operators".
"""

import ctypes
import faulthandler
import signal
from collections.abc import Callable


def install() -> Callable[[float], None]:
    """The function that winds the timer up for so many seconds, or stops it if 0. In the main thread.

    When it runs out, the process tells on stderr what it was doing, and ends with SIGALRM's number as its exit code.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    # Not by the signal's default action: the first process of a container is spared that.
    libc.signal(signal.SIGALRM, ctypes.cast(libc._exit, ctypes.c_void_p))
    faulthandler.register(signal.SIGALRM, chain=True)
    return wind


def wind(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)
