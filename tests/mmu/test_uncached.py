"""Without prompt caching every token is paid in full at every request, and each request may change the prefix.

Required of a long session: at its peak at least 85 % fewer bytes are sent, every page can be given back to the byte
(which `Agent.planned` asserts at each request), and no age rule that sends as much on the mean faults as little.
"""

from __future__ import annotations

import pytest

from addon.mmu.evict import Occasion, Policy
from addon.mmu.view import Change
from tests.mmu.longrun import Agent

REQUESTS = 200
SEED = 1
AGES = (1, 2, 4, 8, 16)


def played(policy: Policy | None) -> Agent:
    agent = Agent(policy, SEED)
    agent.run(REQUESTS)
    return agent


def test_a_long_session_stays_small_and_misses_less_than_the_age_rule_at_its_size() -> None:
    untouched, ours = played(None), played(Policy())
    assert max(ours.sizes) <= 0.15 * max(untouched.sizes)

    gone = {s.page for plan in ours.plans for s in plan.splices.values() if s.change is Change.EVICT}
    assert len(gone) > REQUESTS / 4
    assert gone <= ours.pages.keys()
    assert {plan.epoch.occasion for plan in ours.plans if plan.epoch} == {Occasion.UNCACHED}

    for age in AGES:
        theirs = played(Policy(name="fifo", fifo_age=age, fifo_bytes=500))
        if sum(theirs.sizes) >= sum(ours.sizes):
            assert ours.missed < theirs.missed
            break
    else:
        pytest.fail("no age was as large")
