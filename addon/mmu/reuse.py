"""Whether a page that has lain idle will be used again.

What a page is good for is known to nobody; how often pages of its kind that had lain as long came into use again can be
counted. A page passes *idle stretches*: the requests between two of its uses, or since the last.

*Learned.* For ages A on a grid, `idle:KIND:A` counts stretches that have lasted A requests, `again:KIND:A` those that
ended in a use after A to 2A - 1 of them (the last A: after A or more). So of the stretches that lasted A, the share

    (again:A + again:2A + again:4A + ...) / idle:A

ended in a use. (Stretches that go on still may; they are few beside those whose conversation has ended.)

*Prior.* 504 recorded main conversations: of the pages that had lain idle for 2, 4, 8, 16, 32, 64 requests, 14.0, 11.8,
9.7, 7.4, 5.0 and 2.5 % were needed again, nearly all of them files (1,597 of 13,576 pages at age 4, of which 6,429 were
files: 2.1 times the share). Of 11,735 outputs 224 (1.9 %) came again word for word, of 3,349 searches 26 (0.8 %) were
made again; of those that were repeated, 63 % (54 %) after more than 4 requests, 26 % (23 %) after more than 16, 2.6 %
(4 %) after more than 64. In 636 sub-agents 1.3 % of the pages of age 4 were needed again, a ninth of the share.

*Blend.* The prior weighs WEIGHT stretches. A longer age never has a higher chance than a shorter one: where counts say
otherwise the shorter one is raised, for what a page costs that is missing is more than what one costs that is kept.
Between two ages of the grid the chance is taken on the straight line over the logarithm of the age.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from enum import StrEnum

from addon.wire.conversation import Act, Subject
from addon.wire.shell import only_reads

AGES = (1, 2, 4, 8, 16, 32, 64)
"""Requests without a use at which stretches are counted."""
WEIGHT = 100.0
"""How many stretches the prior weighs."""
OF_SUB = 1 / 9
"""The prior's share for a conversation that another agent has begun."""


class Sort(StrEnum):
    """Kinds of pages."""

    FILE = "file"
    OUTPUT = "output"
    SEARCH = "search"
    """Searches and listings: what they say depends on the files alone."""


PRIOR: Mapping[Sort, tuple[float, ...]] = {
    Sort.FILE: (0.33, 0.29, 0.25, 0.20, 0.16, 0.105, 0.053),
    Sort.OUTPUT: (0.019, 0.016, 0.012, 0.008, 0.005, 0.0018, 0.0005),
    Sort.SEARCH: (0.008, 0.006, 0.0043, 0.003, 0.0018, 0.0008, 0.0003),
}


def sort(subject: Subject) -> Sort:
    """Which kind the result of a call is."""
    if subject.act is Act.READ:
        return Sort.FILE
    looks = subject.act is Act.RUN and only_reads(subject.name, checks=False)
    return Sort.SEARCH if looks else Sort.OUTPUT


def idle(sort: Sort, age: int) -> str:
    """The tally of stretches that have lasted so long, an age of the grid."""
    return f"idle:{sort}:{age}"


def again(sort: Sort, age: int) -> str:
    """The tally that a use adds to which ends a stretch of `age` requests, 1 or more."""
    return f"again:{sort}:{AGES[bisect_right(AGES, age) - 1]}"


def chances(tallies: Mapping[str, float], sort: Sort, *, sub: bool = False) -> list[float]:
    """The chance at each age of the grid, falling."""
    out: list[float] = []
    used, least = 0.0, 0.0
    for age, prior in reversed(list(zip(AGES, PRIOR[sort], strict=True))):
        used += max(0.0, tallies.get(again(sort, age), 0.0))
        lasted = max(used, tallies.get(idle(sort, age), 0.0))
        known = prior * (OF_SUB if sub else 1.0)
        least = max(least, (used + WEIGHT * known) / (lasted + WEIGHT))
        out.append(least)
    return out[::-1]


def chance(tallies: Mapping[str, float], sort: Sort, age: float, *, sub: bool = False) -> float:
    """The chance, 0 to 1, that a page is used again which was not used in the last `age` requests."""
    return at_age(chances(tallies, sort, sub=sub), age)


def at_age(found: Sequence[float], age: float) -> float:
    """The chance, 0 to 1, after `age` requests, of the chances at the ages of the grid."""
    at = math.log2(min(max(age, AGES[0]), AGES[-1]))  # the grid's ages are the powers of two
    below = min(int(at), len(AGES) - 2)
    return found[below] + (found[below + 1] - found[below]) * (at - below)
