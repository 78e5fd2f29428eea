from __future__ import annotations

import pytest

from benchmarks.lab.frontier import Point, frontier
from benchmarks.lab.report import points, points_figure
from benchmarks.skeletons import Answered, Call, Cleared, Need, Received, Result, Skeleton, SkeletonEvent

HOUR = 3600.0


def skeleton(*needs: Need, pause: float = 0.0, clears: bool = False) -> Skeleton:
    """Two files of 1,000 and 2,000 bytes arrive at requests 1 and 2; ten requests in all, 10 seconds apart, with a
    pause before the seventh."""
    events: list[SkeletonEvent] = []
    for n in range(10):
        at = 10.0 * n + (pause if n >= 6 else 0.0)
        results = (Result(n - 1, 1000 * n, False, f"c{n}"),) if n in (1, 2) else ()
        events.append(Received(at, n == 0, 10, results))
        if clears and n == 5:
            events.append(Cleared(at, (1,)))
        calls = (Call("Read", "file", f"p{n}", f"p{n}"),) if n < 2 else ()
        events.append(Answered(at + 5, None, 10, calls))
    return Skeleton("g", "n", "claude-code", "m", False, (tuple(events),), needs)


def point(rule: str, age: int, *sessions: Skeleton) -> Point:
    return next(p for p in frontier(sessions) if (p.rule, p.age) == (rule, age))


def test_the_age_rule_by_hand() -> None:
    """With age 4 the first is gone in requests 5 to 9, the second in 6 to 9."""
    made = point("fifo", 4, skeleton())
    assert (made.requests, made.evicted, made.evicted_in_requests, made.faults) == (10, 2, 9, 0)
    assert made.offered == 9 * 1000 + 8 * 2000
    assert made.kept_out == 5 * 1000 + 4 * 2000


def test_a_need_of_what_is_gone_is_a_fault_and_brings_it_back() -> None:
    made = point("fifo", 4, skeleton(Need(0, 4, 0, "edit", 1.0), Need(0, 6, 0, "edit", 1.0)))
    assert (made.faults, made.evicted) == (1, 2)
    assert made.kept_out == 2 * 1000 + 4 * 2000  # gone in 5 and 6; back in 7 and younger than 4 to the end


def test_a_use_keeps_a_result_where_the_rule_looks_at_uses_and_an_edit_for_longer() -> None:
    read = Need(0, 4, 0, "reread", 1.0)
    assert point("access", 4, skeleton(read)).kept_out == 2 * 1000 + 4 * 2000  # used in 4: gone in 8 and 9
    edited = Need(0, 4, 0, "edit", 1.0)
    assert point("access", 4, skeleton(edited)).kept_out == 4 * 2000
    assert point("fifo", 4, skeleton(read)).kept_out == 5 * 1000 + 4 * 2000


def test_a_cold_cache_is_waited_for() -> None:
    assert point("cold", 4, skeleton()).kept_out == 0
    made = point("cold", 4, skeleton(pause=HOUR))
    assert (made.evicted, made.kept_out) == (2, 4 * 3000)


def test_what_the_client_clears_is_not_offered_any_more() -> None:
    made = point("fifo", 8, skeleton(clears=True))
    assert made.offered == 9 * 1000 + 3 * 2000
    assert made.kept_out == 1000


def test_the_points_are_told_and_drawn() -> None:
    found = frontier([skeleton(Need(0, 6, 0, "edit", 1.0))])
    table = points(found).text()
    assert "skeletons, 10 requests" in table
    assert len(points(found).markdown().splitlines()) == len(found) + 5
    assert points_figure(found).count("<circle") == pytest.approx(len(found) + 3)
