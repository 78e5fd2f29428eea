"""Pressure as a function of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from addon.mmu.pressure import CALM, FALL, HIGHEST, SET_POINT, scale, share, step


def after(faults: Iterable[int], state: Mapping[str, Any] = CALM, cost: float = 1.0) -> Mapping[str, Any]:
    for count in faults:
        state = step(state, count, cost)
    return state


def test_windows_forget_by_half_lives() -> None:
    one = after([1])
    for window, half_life in (("short", 8), ("long", 64)):
        later = after([0] * half_life, one)
        assert share(later, window) == pytest.approx(share(one, window) / 2, rel=1e-3)
    assert share(after([1] * 200), "short") == pytest.approx(1, abs=1e-4)


def test_one_fault_is_an_accident_and_two_are_pressure() -> None:
    assert scale(after([1])) == 1
    assert scale(after([1, 0, 0, 1])) == 2
    assert scale(after([1, *[0] * 200, 1])) == 1
    assert scale(after([1, 0, 2])) == 2, "a request counts once"


def test_it_doubles_with_every_further_fault_up_to_the_highest() -> None:
    grown = [scale(after([1] * n)) for n in range(1, 7)]
    assert grown == [1, 2, 4, HIGHEST, HIGHEST, HIGHEST]


def test_it_rises_with_faults_only() -> None:
    state = after([1, 1])
    assert share(state, "short") > SET_POINT
    assert scale(after([0], state)) == scale(state)


def test_it_falls_slowly_and_only_when_both_windows_are_calm() -> None:
    state = after([1] * 4)
    held = 0
    while scale(state) == HIGHEST:
        before, state, held = state, after([0], state), held + 1
    assert share(before, "short") < SET_POINT / 2
    assert share(state, "long") < SET_POINT / 2 <= share(before, "long")
    assert scale(state) == HIGHEST - FALL
    assert held > 100
    assert scale(after([0] * 10_000, state)) == 1


def test_dollars_hold_it_up_where_requests_are_calm() -> None:
    cheap, dear = after([1, 1], cost=1), after([1, 1], cost=1000)
    quiet = [after([0] * 160, state) for state in (cheap, dear)]
    assert [share(state, "long") < SET_POINT / 2 for state in quiet] == [True, False]
    assert scale(quiet[0]) < scale(quiet[1]) == 2


def test_a_state_is_the_same_after_it_was_stored() -> None:
    state = after([0, 1, 1, 0])
    assert json.loads(json.dumps(state)) == state
    assert share(CALM, "short") == share(after([0], cost=0), "long") == 0
