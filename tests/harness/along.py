"""A test process that is killed takes its servers along."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable


def end_with_us(how: signal.Signals) -> Callable[[], None] | None:
    """For `preexec_fn`: the signal that the child gets when the thread that begins it ends. prctl(PR_SET_PDEATHSIG)."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return lambda: library.prctl(1, how)
