"""Tallies: named counts of a scope, to which anybody adds and of which nobody takes away, except that they fade.

The world that was counted changes, so an old one must weigh less. A scope's own clock is its tally TOTAL, which its
callers raise with the others, by as much as they want it to run. An addition that brings it to BOUND or above halves
every tally of the scope, TOTAL included, in the same transaction, and forgets what has come down below LEAST. So of
two ends of an experience the recent one weighs at least twice the one that is BOUND / 2 older, and a name that does
not come up any more goes within a few halvings.

A scope is read once in SECONDS. In between, what this process adds is added to what it has read.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

TOTAL = "total"
BOUND = 1024.0
LEAST = 1 / 16
SECONDS = 60.0
SCOPES = 256
"""Scopes that are kept in mind."""

type Key = tuple[str, str]
"""Tenant and scope."""


def fit(tenant: str, scope: str, amounts: Mapping[str, float]) -> None:
    """ValueError for what no database takes: it would hold up everything else that is to be written."""
    for text in (tenant, scope, *amounts):
        if "\0" in text:
            raise ValueError("a tally has no NUL in its name")
        text.encode("utf-8")
    if not all(map(math.isfinite, amounts.values())):
        raise ValueError("a tally is a finite number")


def added(held: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """The sums, name by name."""
    return {**held, **{name: held.get(name, 0.0) + amount for name, amount in more.items()}}


def faded(held: dict[str, float]) -> dict[str, float]:
    """The rule above, for tallies that lie in no database."""
    if held.get(TOTAL, 0.0) < BOUND:
        return held
    halves = {name: value / 2 for name, value in held.items()}
    return {name: value for name, value in halves.items() if value >= LEAST or name == TOTAL}


@dataclass(slots=True)
class _Snapshot:
    read_at: float
    values: dict[str, float]


class Snapshots:
    """What was read lately, the least recently read first to go."""

    def __init__(self) -> None:
        self._held: OrderedDict[Key, _Snapshot] = OrderedDict()

    def get(self, key: Key) -> dict[str, float] | None:
        """A copy; None where the database must be asked."""
        found = self._held.get(key)
        if found is None or time.monotonic() - found.read_at >= SECONDS:
            return None
        return dict(found.values)

    def put(self, key: Key, values: Mapping[str, float]) -> None:
        """What was just read, with what waits to be written."""
        self._held[key] = _Snapshot(time.monotonic(), dict(values))
        self._held.move_to_end(key)
        if len(self._held) > SCOPES:
            self._held.popitem(last=False)

    def add(self, key: Key, amounts: Mapping[str, float]) -> None:
        """What this process adds."""
        found = self._held.get(key)
        if found is not None:
            found.values = added(found.values, amounts)
