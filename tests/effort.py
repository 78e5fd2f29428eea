"""How many examples a property is tried on. `MITMMU_EFFORT=1` is the full number, for when the code under it was
changed; what runs each time is a part of it, and every run draws its own."""

from __future__ import annotations

import os

EFFORT = float(os.environ.get("MITMMU_EFFORT", "0.35"))
LEAST = 15


def cases(full: int) -> int:
    """How many of `full` examples to try."""
    return max(min(full, LEAST), round(full * EFFORT))
