"""How long conversations last, worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.mmu.survival import GRID, MOST, MOST_OF_SUB, WEIGHT, entered, learned, passing, reached, remaining


def test_a_conversation_counts_at_each_point_of_the_grid_it_passes() -> None:
    assert reached(0, 1) == {"reached:1": 1}
    assert reached(4, 5) == {}
    assert reached(5, 6) == {"reached:6": 1}
    assert reached(0, 3) == {"reached:1": 1, "reached:2": 1, "reached:3": 1}
    assert reached(3, 3) == {}
    assert entered(7) == entered(6) == {"entered:6": 1}
    assert entered(5000) == {"entered:1024": 1}


def test_nothing_known_is_as_much_again_and_no_more_than_was_ever_seen() -> None:
    assert [remaining({}, n) for n in (0, 1, 7, 299, 5000)] == [1, 1, 7, 299, MOST]
    assert [remaining({}, n, sub=True) for n in (1, 7, 299)] == [1, 7, MOST_OF_SUB]


# of 100 conversations 50 made two requests, 40 three, 20 four, and nobody six
KNOWN = {"reached:1": 100.0, "reached:2": 50.0, "reached:3": 40.0, "reached:4": 20.0}


def test_what_was_learned_is_the_sum_of_the_shares_that_go_on() -> None:
    assert learned(KNOWN, 1) == pytest.approx(0.5 + 0.4 + 0.2)
    assert learned(KNOWN, 2) == pytest.approx(0.8 + 0.4)
    assert learned(KNOWN, 3) == pytest.approx(0.5)
    assert learned(KNOWN, 4) == learned(KNOWN, 40) == 0
    # 16 to 24: of ten two got there, and are taken to have ended there
    assert learned({"reached:16": 10, "reached:24": 2}, 16) == pytest.approx(0.2 * 8)
    assert learned({"reached:16": 10, "reached:24": 2}, 20) == pytest.approx(0.2 * 4)


def test_late_entries_count_among_those_who_may_go_on_and_not_among_those_who_came() -> None:
    known = {"reached:16": 10, "entered:16": 10, "reached:24": 5}
    assert passing(known, 16, 24) == 0.25
    assert passing({"reached:16": 1, "reached:24": 5}, 16, 24) == 1
    assert passing({"reached:24": 5}, 16, 24) == 0


def test_the_blend_goes_by_how_many_were_seen() -> None:
    assert remaining(KNOWN, 1) == pytest.approx((100 * 1.1 + WEIGHT * 1) / (100 + WEIGHT))
    assert remaining(KNOWN, 4) == pytest.approx((20 * 0 + WEIGHT * 4) / (20 + WEIGHT))
    # nobody was ever seen here, so nothing speaks against the prior
    assert remaining(KNOWN, 40) == 40


counts = st.lists(st.floats(0, 1000), min_size=len(GRID), max_size=len(GRID))


@given(counts, counts, st.integers(1, 3000), st.booleans())
def test_within_bounds_whatever_was_counted(come: list[float], late: list[float], n: int, sub: bool) -> None:
    tallies = {f"reached:{g}": c for g, c in zip(GRID, come, strict=True)}
    tallies |= {f"entered:{g}": c for g, c in zip(GRID, late, strict=True)}
    prior = min(n, MOST_OF_SUB if sub else MOST)
    further = max(0, GRID[-1] - n)
    assert 0 <= learned(tallies, n) <= further
    ends = sorted((learned(tallies, n), prior))
    assert ends[0] - 1e-9 <= remaining(tallies, n, sub=sub) <= ends[1] + 1e-9


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 400))
def test_never_above_what_was_seen(lengths: list[int], n: int) -> None:
    tallies: dict[str, float] = {}
    for length in lengths:
        for name in reached(0, length):
            tallies[name] = tallies.get(name, 0) + 1
    # from a grid point, where those that were there are known one by one
    point = max(g for g in GRID if g <= n)
    there = [length - point for length in lengths if length >= point]
    assert learned(tallies, point) <= (sum(there) / len(there) if there else 0) + 1e-9
    # and more conversations that go on are never less to come
    longer = {name: tallies.get(name, 0) + 1 for name in reached(0, 2000)}
    assert learned(longer, point) >= learned(tallies, point) - 1e-9
