"""When a cache is kept warm, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.mmu import keepalive
from addon.mmu.keepalive import Gaps, Kept, cost, expected_longer, pays
from addon.mmu.price import Rates

RATES = Rates(fresh=5e-6, read=0.5e-6, written=6.25e-6, written_hour=10e-6, output=25e-6)
KEPT = Kept(cached=100_000, rest=0, lifetime=300.0, asked_at=1_000.0, warm_from=1_000.0)
READ = 0.05
"""Dollars of reading it."""


def ask(kept: Kept = KEPT, now: float = 1_270.0, *, rates: Rates = RATES, spent: float = 0) -> bool:
    return pays(kept, now, Gaps(), rates, 0, spent)


def test_the_prior_goes_through_what_was_measured() -> None:
    for seconds, share in keepalive.LONGER:
        assert expected_longer(seconds) == pytest.approx(share)
    assert expected_longer(0) == 1.0
    assert 0.0034 > expected_longer(7200) > 0.001


def test_the_chance_of_coming_back() -> None:
    """Of 1000 gaps 29 are longer than 4.5 minutes, 27 than 5 and 15.8 than 9.5; 18.8 sessions end."""
    chance = Gaps().chance(270, 300, 570)
    assert chance == pytest.approx((27 - 15.8) / (29.1 + 18.8), rel=0.01)


def test_what_is_seen_counts() -> None:
    gaps = Gaps()
    for _ in range(1000):
        gaps.came_back(400)
    assert gaps.chance(270, 300, 570) == pytest.approx((1000 + 11.2) / (1000 + 29.1 + 18.8), rel=0.01)
    for _ in range(3000):
        gaps.ended()
    assert gaps.chance(270, 300, 570) < 0.3
    early = Gaps()
    for _ in range(1000):
        early.came_back(5)
    assert early.chance(270, 300, 570) == Gaps().chance(270, 300, 570)


def test_the_first_refreshes_pay_and_later_ones_do_not() -> None:
    assert cost(KEPT, RATES, 0) == pytest.approx(READ)
    assert ask()
    again = replace(KEPT, warm_from=1_270.0, refreshes=1, dollars=READ)
    later = replace(KEPT, warm_from=1_000.0 + 1_800, refreshes=7, dollars=7 * READ)
    assert ask(again, 1_540.0)
    assert not ask(later, 1_000.0 + 2_070)
    assert ask(later, 1_000.0 + 2_070, rates=replace(RATES, read=0.125e-6))  # at the newest models' price it would


def test_what_is_not_cached_is_paid_for_each_time() -> None:
    assert not ask(replace(KEPT, rest=20_000))
    assert pays(KEPT, 1_270.0, Gaps(), RATES, 1, 0)
    assert not pays(KEPT, 1_270.0, Gaps(), RATES, 4_000, 0)


def test_an_hour_is_worth_what_an_hour_costs() -> None:
    hour = Kept(100_000, 0, 3600.0, 0.0, 0.0)
    assert pays(hour, 3_240.0, Gaps(), replace(RATES, read=0.125e-6), 0, 0)
    assert hour.due(3_240.0)
    assert not hour.due(3_200.0)


def test_it_is_bounded() -> None:
    assert not ask(replace(KEPT, refreshes=keepalive.MOST))
    assert not ask(replace(KEPT, dollars=keepalive.DOLLARS - READ / 2))
    assert not ask(spent=keepalive.DAILY - READ / 2)
    assert not ask(rates=replace(RATES, known=False))


def test_shortly_before_it_expires() -> None:
    assert not KEPT.due(1_269.0)
    assert KEPT.due(1_270.0)
    assert not KEPT.lost(1_295.0)
    assert KEPT.lost(1_296.0)


SECONDS = st.floats(1, 4000)


@given(st.lists(st.floats(0.1, 1e5), max_size=50), st.integers(0, 50), SECONDS, st.floats(0, 600), SECONDS)
def test_a_chance_is_one(seen: list[float], ends: int, idle: float, start: float, length: float) -> None:
    gaps = Gaps(ends=ends)
    for seconds in seen:
        gaps.came_back(seconds)
    one = gaps.chance(idle, idle + start, idle + start + length)
    assert 0 <= one <= 1
    both = one + gaps.chance(idle, idle + start + length, idle + start + 2 * length)
    assert both == pytest.approx(gaps.chance(idle, idle + start, idle + start + 2 * length))
