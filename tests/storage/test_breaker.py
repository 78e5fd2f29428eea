from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.breaker import LIMIT, LONGEST, SHORTEST, Breaker, State


def closed() -> Breaker:
    made = Breaker()
    assert made.probe(0.0)
    made.proved(True, 0.0)
    return made


def test_a_service_has_to_show_first_that_it_is_there() -> None:
    breaker = Breaker()
    assert not breaker.closed
    assert breaker.probe(0.0)
    assert breaker.state is State.HALF_OPEN
    assert not breaker.closed
    breaker.proved(True, 0.1)
    assert breaker.closed


def test_three_failures_in_a_row_open_it() -> None:
    breaker = closed()
    assert [breaker.failed(1.0) for _ in range(3)] == [False, False, True]
    assert breaker.state is State.OPEN
    assert breaker.failed(1.1) is False, "what went out before is told twice"
    assert breaker.due == 1.0 + SHORTEST


def test_one_failure_in_three_is_forgiven_and_one_in_two_is_not() -> None:
    patient, tried = closed(), closed()
    for _ in range(100):
        assert not patient.failed(1.0)
        patient.answered()
        patient.answered()
    opened = 0
    while not tried.failed(1.0):
        tried.answered()
        opened += 1
    assert opened < 10


def test_one_probe_at_a_time_and_not_before_it_is_due() -> None:
    breaker = closed()
    while not breaker.failed(5.0):
        pass
    assert not breaker.probe(5.0 + SHORTEST - 0.001)
    assert breaker.probe(5.0 + SHORTEST)
    assert not breaker.probe(5.0 + SHORTEST + 100)


def test_pauses_double_up_to_the_longest_and_begin_anew() -> None:
    breaker = closed()
    now, pauses = 0.0, []
    while not breaker.failed(now):
        pass
    for _ in range(12):
        pauses.append(breaker.due - now)
        now = breaker.due
        assert breaker.probe(now)
        breaker.proved(False, now)
    assert pauses[:4] == [SHORTEST, 2 * SHORTEST, 4 * SHORTEST, 8 * SHORTEST]
    assert max(pauses) == pauses[-1] == LONGEST
    now = breaker.due
    assert breaker.probe(now)
    breaker.proved(True, now)
    while not breaker.failed(now):
        pass
    assert breaker.due - now == SHORTEST


def test_what_comes_of_a_probe_needs_a_probe() -> None:
    with pytest.raises(ValueError, match="no probe"):
        closed().proved(True, 0.0)


@given(st.lists(st.tuples(st.sampled_from(["answered", "failed", "probe", "well", "ill"]), st.floats(0, 50))))
def test_over_any_course_it_heals_within_the_longest_pause(steps: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for what, passed in steps:
        now += passed
        before = breaker.state
        if what == "answered":
            breaker.answered()
        elif what == "failed":
            breaker.failed(now)
        elif what == "probe":
            assert breaker.probe(now) == (before is State.OPEN and now >= breaker.due)
        elif before is State.HALF_OPEN:
            breaker.proved(what == "well", now)
        assert breaker.state is not State.OPEN or breaker.due - now <= LONGEST
    if breaker.state is State.OPEN:
        assert breaker.probe(now + LONGEST)
    if breaker.state is State.HALF_OPEN:
        breaker.proved(True, now + LONGEST)
    assert breaker.closed
    assert any(breaker.failed(now) for _ in range(int(LIMIT)))
