"""What a decision knows beyond the request: prices, habits of other sessions, what the provider has in its cache.

An action that changes a warm prefix pays now and earns later, and whether later comes nobody knows. Two rules keep it
from ever making a conversation dearer:

- it must pay in expectation, over the requests that are still to come (`addon.mmu.survival`);
- what it costs must have been saved already. A conversation's *credit* is what the ledger has booked as saved on it, so
  that a wrong guess gives back a part of that, and never more. (Ski rental bounds the regret by the rent paid so far;
  this bounds it by the rent *saved* so far.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from addon.mmu.habits import Learned
from addon.mmu.price import Rates
from addon.mmu.view import View
from addon.wire.conversation import Conversation

CREDIT = "credit"
"""What a line's state calls the dollars that it has saved so far."""

SCALE = "scale"
"""What it calls the provider's tokens over ours."""
USUAL_SCALE = 1.25
"""The same while nothing has been measured. Claude's tokens are more than o200k's."""


def scale(view: View) -> float:
    """The provider's tokens over ours."""
    return float(view.state.get(SCALE, USUAL_SCALE))


def credit(view: View | None) -> float:
    """Dollars that a line has saved so far."""
    return float(view.state.get(CREDIT, 0.0)) if view is not None else 0.0


@dataclass(frozen=True, slots=True)
class Warmth:
    """What the provider is thought to have in its cache of a request's tools and instructions."""

    shared: int | None = None
    """Tokens of the client's own, which other sessions keep warm; None: not known, it may be all."""
    stubbed: frozenset[str] = frozenset()
    """Anchors of what was changed in the tools of another session, whose head is warm as it was sent there."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known at the time of a request. The defaults make mitmmu act least."""

    rates: Rates | None = None
    """None: nothing that has to be priced is done."""
    habits: Learned = field(default_factory=Learned)
    head: Warmth = field(default_factory=Warmth)


UNKNOWN = Outlook()


def written(rates: Rates, conversation: Conversation, state: Mapping[str, object]) -> float:
    """What a token costs that is written to the cache, for as long as the client asks."""
    told = state.get("told")
    kept = float(told) if isinstance(told, int | float) else conversation.ttl or 0.0
    return rates.written_hour if kept > 300 else rates.written
