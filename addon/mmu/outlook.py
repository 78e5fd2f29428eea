"""What a decision knows beyond the request: prices, habits of other sessions, what the provider has in its cache.

An action that changes a warm prefix pays now and earns later, and whether later comes nobody knows. Two rules keep it
from ever making a conversation dearer:

- it must pay in expectation, over the requests that are still to come (`remaining`). Conversations follow Lindy's law:
  one that has made n requests makes about n more;
- what it costs must have been saved already. A conversation's *credit* is what the ledger has booked as saved on it, so
  that a wrong guess gives back a part of that, and never more. (Ski rental bounds the regret by the rent paid so far;
  this bounds it by the rent *saved* so far.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from addon.mmu.price import Rates
from addon.mmu.view import View

CREDIT = "credit"
"""What a line's state calls the dollars that it has saved so far."""

MOST_REMAINING = 30.0


def credit(view: View | None) -> float:
    """Dollars that a line has saved so far."""
    return float(view.state.get(CREDIT, 0.0)) if view is not None else 0.0


def lindy(requests: int) -> float:
    """Requests that are still to come, by the number made alone."""
    return min(float(requests), MOST_REMAINING)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known at the time of a request. The defaults make mitmmu act least."""

    rates: Rates | None = None
    """None: nothing that has to be priced is done."""
    used: frozenset[str] | None = None
    """Tools that enough of the recent sessions called; None where there were too few."""
    head_warm: bool = True
    """The provider may have the client's own tools and instructions in its cache, from other sessions."""
    stubbed: frozenset[str] = frozenset()
    """Anchors of the stubs of another session, whose head the provider has in its cache."""
    remaining: Callable[[int], float] = lindy
    """Requests still to come, by the number made."""


UNKNOWN = Outlook()
