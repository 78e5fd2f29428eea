"""Whether a cache that is about to expire is worth a refresh.

A read renews the cache's time to live at no further charge. So the last request, sent again for an answer of no
length, keeps a prompt for one lifetime more at the price of reading it. Without that, a client that comes back too late
pays for writing it all again. With `r` and `w` the prices of reading and writing, a refresh is expected to save

    P(comes back within what it adds | idle for so long) * (w - r) * cached  -  r * cached  -  all that is not cached

What it adds begins where the cache would have expired anyway: whoever comes back before that finds it warm in any case.
At common prices (r a tenth, w five quarters of plain input) it pays from a chance of 9 % on, at the newest from 4 %.

The chance comes from how long clients were idle before they came back. The prior is that of 26,768 gaps between
requests in 504 recorded coding sessions: half of them longer than 2.4 s, a tenth longer than 47 s, 2.7 % longer than
5 minutes, 0.34 % longer than an hour, between these a power law; and each session ends once, so that there is one end
for 53 gaps. What is seen is added to that. The longer somebody has been away, the longer will they stay, so a cache
that does not pay once is given up.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from addon.mmu.price import Rates
from addon.wire.usage import Usage

LONGER = ((2.4, 0.5), (47.0, 0.1), (300.0, 0.027), (3600.0, 0.0034))
"""Seconds, and the share of gaps that were longer."""
ENDS = 504 / 26768
"""Sessions that ended, for each gap."""
WEIGHT = 1000.0
"""Gaps that the prior counts for."""
STEP = math.log(1.25)
"""Width of a bin, of the logarithm of seconds."""

EARLY = 0.9
"""The part of its lifetime after which a cache is refreshed."""
LATE = 5.0
"""Seconds before its end from which that comes too late."""


def expected_longer(seconds: float) -> float:
    """The share of gaps that are longer, before any has been seen."""
    pairs = list(pairwise(LONGER))
    (one, share), (two, less) = next((pair for pair in pairs if seconds <= pair[1][0]), pairs[-1])
    slope = math.log(share / less) / math.log(two / one)
    return min(1.0, share * math.exp(-slope * math.log(max(seconds, 1e-3) / one)))


@dataclass(slots=True)
class Gaps:
    """How long clients were idle before they came back, and how often they did not."""

    bins: Counter[int] = field(default_factory=Counter)
    ends: int = 0

    def came_back(self, seconds: float) -> None:
        self.bins[math.floor(math.log(max(seconds, 1.0)) / STEP)] += 1

    def ended(self) -> None:
        self.ends += 1

    def _longer(self, seconds: float) -> float:
        """Gaps, the prior's among them, that were longer. Within a bin they are spread evenly."""
        at = math.log(max(seconds, 1.0)) / STEP
        seen = sum(count * min(1.0, max(0.0, number + 1 - at)) for number, count in self.bins.items())
        return WEIGHT * expected_longer(seconds) + seen

    def chance(self, idle: float, start: float, end: float) -> float:
        """That a client who has been idle for so long comes back after `start` and not after `end`, in seconds since
        its last request; `idle` is at most `start`."""
        within = self._longer(start) - self._longer(end)
        return within / (self._longer(idle) + WEIGHT * ENDS + self.ends)


@dataclass(frozen=True, slots=True)
class Kept:
    """A cache that may be kept warm."""

    cached: int
    """Tokens in it."""
    rest: int
    """Tokens of the prompt that are not, and are paid for in full each time."""
    lifetime: float
    asked_at: float
    """When the client's last request was made, epoch seconds."""
    warm_from: float
    """When the cache was last used, by that or by a refresh."""
    refreshes: int = 0
    dollars: float = 0.0
    """What these have cost."""

    def due(self, now: float) -> bool:
        """Whether it is time to decide."""
        return now >= self.warm_from + EARLY * self.lifetime

    def lost(self, now: float) -> bool:
        """Whether it is too late."""
        return now > self.warm_from + self.lifetime - LATE


MOST = 12
"""Refreshes in a row."""
DOLLARS = 2.0
"""Spent on a conversation at most, between two of its requests."""
DAILY = 10.0
"""Spent in a day at most, on all of them."""


def cost(kept: Kept, rates: Rates, output: int) -> float:
    """Dollars of a refresh whose answer has so many tokens."""
    return rates.cost(Usage(read=kept.cached, fresh=kept.rest, output=output))


def pays(kept: Kept, now: float, gaps: Gaps, rates: Rates, output: int, spent_today: float) -> bool:
    """Whether to refresh it now."""
    price = cost(kept, rates, output)
    if not rates.known or kept.refreshes >= MOST or kept.dollars + price > DOLLARS or spent_today + price > DAILY:
        return False
    here = rates.at(kept.cached + kept.rest)
    write = here.written_hour if kept.lifetime >= 3600 else here.written
    expires = kept.warm_from + kept.lifetime - kept.asked_at
    idle = now - kept.asked_at
    chance = gaps.chance(idle, max(expires, idle), idle + kept.lifetime)
    return chance * (write - here.read) * kept.cached > price
