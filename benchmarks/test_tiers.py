from __future__ import annotations

import pytest

from benchmarks.tiers import SCANS, Scans, accesses, compare


@pytest.mark.parametrize("scans", SCANS)
def test_the_rule_costs_less_than_least_recently_used_at_every_budget(scans: Scans) -> None:
    for share, old, new in compare(3, scans=scans):
        assert new.cost < old.cost, share
        assert new.hits > old.hits, share


def test_the_same_seed_makes_the_same_sequence() -> None:
    assert accesses(1, scans="anywhere") == accesses(1, scans="anywhere")
    assert accesses(1, scans="anywhere") != accesses(2, scans="anywhere")
